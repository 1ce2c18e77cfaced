"""From a closed month to lines on Stripe's next invoice.

A line is written here together with the command that sends it (`services.commands`). Cents are rounded once, by
`to_cents`, and what is left over goes to the same line of the next month.
"""

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from django.db.models import Q

from billing.ledger.lines import to_cents
from billing.models import Invoice, InvoiceLinePush, PeriodClose, StripeCommand, Subscription
from billing.periods import bounds
from billing.selectors.bills import carried_nano
from billing.selectors.bookings import pushed_lines
from billing.selectors.meters import METERED
from billing.selectors.subscriptions import renews, subscription_current, usage_subscription
from billing.services.commands import KEY_LIFE, command_write, commands_send
from billing.services.locks import money_lock
from billing.services.meters import bills_metered
from billing.services.mirror import line_view
from billing.services.sinks import bill_lines
from billing.services.subscriptions import customer_write
from billing.services.sweeps import for_each
from billing.stripe_port import stripe_port
from kit.clock import now
from tenants.scope import ops_scope, tenant_scope

LOOK_BACK = dt.timedelta(days=62)
SEEN_AFTER = dt.timedelta(hours=1)
"""By then an invoice that was made is in our mirror."""


class Line(Protocol):
    """A line of a bill: `billing.ledger.lines.BillLine` is one."""

    @property
    def key(self) -> str:
        """Names the line within its month."""

    @property
    def description(self) -> str:
        """What the invoice says."""

    @property
    def amount_nano(self) -> int:
        """The exact price; negative for what the plan includes."""


def invoice_lines_push(*, tenant_id: uuid.UUID, period: dt.date, lines: Iterable[Line]) -> int:
    """Put a closed month's lines on the tenant's next invoice; how many were sent by this call.

    Once per (tenant, period, line key), however often it is called; what Stripe does not take now is sent later. Not
    inside a scope: each step commits by itself.
    """
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        for line in lines:
            _note(period, line)
        waiting = InvoiceLinePush.objects.filter(period=period, sent_at=None).order_by("line_key")
        pushes = list(waiting)
        if pushes:
            _commands_write(period, pushes)
    if not pushes:
        return 0
    commands_send(tenant_id)
    with tenant_scope(tenant_id):
        return InvoiceLinePush.objects.filter(pk__in=[push.pk for push in pushes], sent_at__isnull=False).count()


def _commands_write(period: dt.date, pushes: list[InvoiceLinePush]) -> None:
    """One command a line; where no renewal takes them along within a month, an invoice of their own."""
    customer_write()
    for push in pushes:
        # Lines older than the outbox were sent under the same key; nobody knows which of them arrived.
        tried_at = push.created_at if now() - push.created_at > KEY_LIFE else None
        pk = str(push.pk)
        command_write("invoice_item", {"push": pk}, once=pk, key=f"push-{pk}", tried_at=tried_at)
    if usage_subscription() is None:
        month = f"{period:%Y-%m}"
        # A metered bill may be put right more than once; each time needs an invoice.
        again = [push.line_key for push in pushes if push.line_key.startswith(f"{METERED}:")]
        command_write("invoice_make", {"period": month}, once="/".join([month, *again]))


def _note(period: dt.date, line: Line) -> None:
    """Write a line down with its cents, unless it already stands."""
    if InvoiceLinePush.objects.filter(period=period, line_key=line.key).exists():
        return
    whole, left = to_cents(line.amount_nano, carried_nano(period).get(line.key, 0))
    InvoiceLinePush.objects.create(
        period=period,
        line_key=line.key,
        description=f"{line.description} ({period:%Y-%m})"[:500],
        amount_nano=whole * 10_000_000 + left,
        amount_cents=whole,
        remainder_nano=left,
        # Less than half a cent: nothing to send now, the rest is carried.
        sent_at=None if whole else now(),
    )


def waiting_invoice_all() -> int:
    """Ask for an invoice of what waits at Stripe where no renewal takes it along any more, because the plan rests, was
    given up or ended since it was sent; how many tenants were asked for."""
    with ops_scope("lines that wait at Stripe"):
        waiting = InvoiceLinePush.ops.filter(sent_at__isnull=False, invoice_id="").exclude(amount_cents=0)
        tenants = list(waiting.order_by().values_list("tenant_id", flat=True).distinct())
        renewed = {
            one.tenant_id
            for one in Subscription.ops.filter(tenant_id__in=tenants).select_related("tenant")
            if renews(one)
        }
    return for_each("waiting_invoice", sorted(set(tenants) - renewed, key=str), _waiting_invoice)


def _waiting_invoice(tenant_id: uuid.UUID) -> int:
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        pushes = pushes_waiting()
        if not pushes or usage_subscription() is not None:
            return 0
        months = {f"{one.period:%Y-%m}" for one in pushes}
        soon = Q(state=StripeCommand.State.WAITING) | Q(state=StripeCommand.State.DONE, done_at__gt=now() - SEEN_AFTER)
        if StripeCommand.objects.filter(soon, operation="invoice_make", once__in=months).exists():
            return 0
        last = max(pushes, key=lambda one: (one.sent_at, one.pk))
        # Whatever waits is on it, so who has waited least names it: each line is asked for once.
        command_write("invoice_make", {"period": f"{last.period:%Y-%m}"}, once=f"waiting-{last.pk}")
    commands_send(tenant_id)
    return 1


def pushes_waiting() -> list[InvoiceLinePush]:
    """Lines of the scope's tenant that were sent to Stripe and are on no invoice we know, drafts counted. Those that
    are on one are marked."""
    rows = InvoiceLinePush.objects.filter(sent_at__isnull=False, invoice_id="").exclude(amount_cents=0)
    waiting = {one.pk: one for one in rows}
    if not waiting:
        return []
    since = bounds(min(one.period for one in waiting.values()))[1]
    for invoice in Invoice.objects.filter(issued_at__gte=since).iterator():
        for push in pushes_mark(invoice):
            waiting.pop(push.pk, None)
    return list(waiting.values())


def pushes_mark(invoice: Invoice) -> list[InvoiceLinePush]:
    """Note the lines of ours that an invoice has; which they are."""
    found = [push for push, _ in pushed_lines(invoice)]
    fresh = [push.pk for push in found if push.invoice_id != invoice.stripe_id]
    if fresh:
        InvoiceLinePush.objects.filter(pk__in=fresh).update(invoice_id=invoice.stripe_id)
    return found


def periods_push_all() -> int:
    """Push the lines of every closed month that are not at Stripe yet; how many lines."""
    with ops_scope("closed months whose lines wait for an invoice"):
        closes = list(
            PeriodClose.ops.filter(closed_at__gte=now() - LOOK_BACK).exclude(net_nano=0).order_by("closed_at", "pk")
        )
        sent: dict[tuple[uuid.UUID, dt.date], int] = {}
        done = InvoiceLinePush.ops.filter(period__in={close.period for close in closes}, sent_at__isnull=False)
        for key in done.values_list("tenant_id", "period"):
            sent[key] = sent.get(key, 0) + 1
    metered = bills_metered()
    apart = {close.pk for close in metered}
    due = [close for close in closes if sent.get((close.tenant_id, close.period), 0) < len(close.lines)]
    due = [close for close in due if close.pk not in apart] + metered
    return for_each("periods_push", due, _push_close)


def _push_close(close: PeriodClose) -> int:
    # What a meter leaves for an invoice is only known under the lock: the lines are read there.
    return invoice_lines_push(tenant_id=close.tenant_id, period=close.period, lines=bill_lines(close))


def upcoming_fetch() -> dict[str, Any] | None:
    """The next invoice as Stripe would make it now: {"total", "currency", "at", "lines"}, cents; None if none comes."""
    current = subscription_current()
    found = stripe_port().upcoming_fetch(current.stripe_id) if current is not None else None
    if found is None:
        return None
    return {
        "total": found["amount_due"],
        "currency": found["currency"],
        "at": dt.datetime.fromtimestamp(found["created"], dt.UTC),
        "lines": [line_view(line) for line in found["lines"]["data"]],
    }
