"""Usage, a closed month and invoices of somebody, for pages to show."""

import datetime as dt
import secrets
from typing import Any

from billing.metering import UsageEvent as Event
from billing.metering import event_id
from billing.models import CreditNote, Invoice, InvoiceLinePush, Refund, UsageEvent
from billing.periods import to_ms
from billing.prices import Usage, price_books, rate
from billing.services.ledger import period_close
from billing.services.metering import usage_record, usage_rollup
from kit.clock import now
from kit.money import CENT, NANO, SYMBOLS
from tenants.scope import tenant_scope
from tests.billing.money import call, store_events
from tests.conftest import Person
from tests.serving.logged import log_request

OCTOBER = dt.date(2026, 10, 1)
TUNED = "ft:all-MiniLM-L6-v2:ada-works:customer-support-escalations-a-48-letter-name:0190aa11bb22cc33"
BOOKS = {"usd": "2026-11-30.3", "eur": "2026-12-01.eur"}


def event(person: Person, usage: Usage, request_id: str, at: dt.datetime, *, with_key: bool = True) -> Event:
    """An event at the prices of a real book of its currency."""
    book = BOOKS[person.tenant.currency]
    return Event(
        event_id=event_id(person.tenant.id, request_id, usage.kind), request_id=request_id,
        tenant_id=person.tenant.id, project_id=person.project.pk,
        key_id=person.key_row.id if with_key else None, model=usage.model, kind=usage.kind,
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, requests=usage.requests,
        gpu_ms=usage.machine_ms, price_version=book,
        cost_nano=rate(usage, price_books().get(book)), occurred_at=to_ms(at),
    )  # fmt: skip


def made_usage(person: Person, days: int = 3) -> UsageEvent:
    """Events of each kind on the last days, the newest of them a request that the log has."""
    logged = log_request(person)
    made = [event(person, Usage("classify", TUNED, 1204), logged.public_id, now())]
    for day in range(1, days + 1):
        at = now() - dt.timedelta(days=day)
        made += [
            event(person, Usage("classify", TUNED, 4_000_000 + 31_000 * day * day % 700_000), f"req_a{day}", at),
            event(person, Usage("chat", "qwen3-8b", 812_000, 240_000), f"req_b{day}", at),
            event(person, Usage("batch_embeddings", "all-MiniLM-L6-v2", 9_000_000), f"req_c{day}", at),
            event(person, Usage("training", "all-MiniLM-L6-v2", 300_000, requests=1),
                  f"job:{event_id(person.tenant.id, str(day), 'job')}", at, with_key=False),
        ]  # fmt: skip
    store_events(made)
    with tenant_scope(person.tenant.id):
        usage_record(
            request_id="storage:1",
            usage=Usage("storage", "default", requests=0, byte_hours=31 * 10**9),
            project_id=person.project.pk,
            key_id=None,
        )
    usage_rollup(tenant_id=person.tenant.id)
    with tenant_scope(person.tenant.id):
        found: UsageEvent = UsageEvent.objects.get(request_id=logged.public_id)
    return found


def made_bill(person: Person) -> Any:
    """October, closed: three lines of usage over some days, and the allowance."""
    for number in range(12):
        at = dt.datetime(2026, 10, 3 + number, 12, tzinfo=dt.UTC)
        cost = (2 + number) * NANO + 456_780
        store_events([
            call(person.tenant.id, 100 + number, cost=cost, at=at, model=TUNED, project_id=person.project.pk),
            call(person.tenant.id, 200 + number, cost=NANO // 4 + 20 * number, at=at, kind="embeddings",
                 model="all-MiniLM-L6-v2", project_id=person.project.pk),
        ])  # fmt: skip
    usage_rollup(tenant_id=person.tenant.id)
    return period_close(tenant_id=person.tenant.id, period=OCTOBER, allowance_nano=20 * NANO)


def made_invoice(person: Person) -> Invoice:
    """The invoice that asks for October, with tax, a coupon, a part that was paid and a credit note."""
    closed = made_bill(person)
    marked = []
    code = person.tenant.currency
    with tenant_scope(person.tenant.id):
        for line in closed.lines:
            cents = round(line.amount_nano / CENT)
            push, _made = InvoiceLinePush.objects.get_or_create(
                tenant_id=person.tenant.id,
                period=OCTOBER,
                line_key=line.key,
                defaults={
                    "description": f"{line.description} (2026-10)",
                    "amount_nano": line.amount_nano,
                    "amount_cents": cents,
                    "remainder_nano": line.amount_nano - cents * CENT,
                    "sent_at": now(),
                },
            )
            marked.append(_line(push.description, push.amount_cents, metadata={"push": str(push.pk)}))
        lines = [_line(f"1 × Developer (at {SYMBOLS[code]}29.00 / month)", 2_900), *marked]
        subtotal = sum(line["amount"] for line in lines)
        total = subtotal - 290 + 551
        name = secrets.token_hex(6)
        raw = {
            "currency": code, "subtotal": subtotal, "total": total, "amount_due": total - 700, "status": "open",
            "amount_paid": 1_000, "starting_balance": 0, "ending_balance": 0,
            "pre_payment_credit_notes_amount": 700, "post_payment_credit_notes_amount": 0,
            "total_discount_amounts": [{"amount": 290}],
            "total_taxes": [{"amount": 551, "tax_behavior": "exclusive"}], "lines": {"data": lines},
        }  # fmt: skip
        CreditNote.objects.create(
            stripe_id=f"cn_{name}", invoice_id=f"in_{name}", number="A-0002-CN-01", status="issued", currency=code,
            amount=1_200, created_at=now(),
            raw={"pre_payment_amount": 700, "refunds": [{"amount_refunded": 500, "refund": f"re_{name}"}]},
        )  # fmt: skip
        Refund.objects.create(stripe_id=f"re_{name}", status="succeeded", currency=code, amount=500, created_at=now())
        made: Invoice = Invoice.objects.create(
            stripe_id=f"in_{name}", number=f"{name[:8].upper()}-0002", status="open", currency=code, total=total,
            amount_due=total - 700, amount_paid=1_000, issued_at=now(), due_at=now() + dt.timedelta(days=7), raw=raw,
            hosted_url="https://invoice.stripe.com/i/1", pdf_url="https://pay.stripe.com/invoice/1/pdf",
        )  # fmt: skip
    return made


def _line(description: str, cents: int, **more: Any) -> dict[str, Any]:
    start = int(dt.datetime(2026, 11, 1, tzinfo=dt.UTC).timestamp())
    return {"description": description, "amount": cents, "period": {"start": start, "end": start + 30 * 86_400}, **more}
