"""Whatever happens to invoices, and however the news of it arrives, the books are balanced and say what Stripe says."""

from __future__ import annotations

import datetime as dt
import os
import random as randoms
from collections import Counter
from collections.abc import Iterator

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.ledger.lines import to_cents
from billing.models import InvoiceLinePush, LedgerTransaction
from billing.selectors.bills import balances
from billing.selectors.invariants import findings
from billing.services.ledger import period_close
from billing.services.metering import usage_rollup
from billing.services.receivables import mirrors_book_all
from billing.stripe_port import stripe_port
from kit.clock import now
from kit.money import CENT
from tenants.scope import tenant_scope
from tests.billing.emulated import KEY, SECRET
from tests.billing.money import BOOKS, call, store_events
from tests.billing.stripe_world import Account, Json, World
from tests.conftest import make_person

CASES = int(os.environ.get("BOOKS_CASES", "25"))
MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)
ACTIONS = (
    *("issue", "issue", "issue", "pay", "pay", "pay", "credit", "credit", "refund", "dispute"),
    *("usage", "part", "outside", "give up", "void", "refund fails", "dispute ends", "news", "news", "book"),
)
LIFE = st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=14)


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """Objects that the port fetches, for all cases."""
    with (
        override_settings(STRIPE_SECRET_KEY=KEY, STRIPE_API_BASE="http://127.0.0.1:9", STRIPE_WEBHOOK_SECRET=SECRET),
        pytest.MonkeyPatch.context() as patch,
    ):
        stripe_port.cache_clear()
        yield Account(patch)
    stripe_port.cache_clear()


@pytest.mark.slow
@settings(
    max_examples=CASES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(life=LIFE, seed=st.integers(0, 2**32))
def test_any_life_of_invoices_in_any_order_of_news_ends_in_right_books(
    account: Account, life: list[str], seed: int
) -> None:
    random = randoms.Random(seed)
    world = World(account, make_person("books", currency=random.choice(["usd", "eur"])))
    tenant_id = world.person.tenant.id
    for step in life:
        if step == "news":
            for event in random.choices(world.events, k=min(3, len(world.events))) if world.events else []:
                world.deliver(event)
        elif step == "book":
            mirrors_book_all()
        else:
            act(world, step, random)
        if step in ("news", "book"):
            assert [finding.message for finding in findings([tenant_id])] == []
    left = world.events + random.sample(world.events, len(world.events) // 2)
    random.shuffle(left)
    for event in left:
        world.deliver(event)
        if random.random() < 0.2:
            mirrors_book_all()
    mirrors_book_all()

    assert [finding.message for finding in findings([tenant_id])] == []
    found = in_cents(world)
    assert found == {account: cents for account, cents in expected(world).items() if cents}
    assert sum(found.values()) == 0
    count = transactions(world)
    for event in world.events:
        world.deliver(event)
    mirrors_book_all()
    assert transactions(world) == count, "news of what is known moves nothing"


def act(world: World, step: str, random: randoms.Random) -> None:
    """One thing that happens at Stripe, where it can."""
    open_ones = [i for i in world.made("invoice") if i["status"] == "open"]
    paid = [i for i in world.made("invoice") if i["amount_paid"] and i["status"] == "paid"]
    untouched = [i for i in open_ones if not i["amount_paid"]]
    if step in ("issue", "usage"):
        plan = random.choice([1_900, 2_900, 9_900, -700])
        coupon = random.choice([0, 0, 500, max(0, plan)]) if plan > 0 else 0
        tax = max(0, plan - coupon) * 19 // 100
        how = random.choice(["on_top", "inside", "none"])
        world.invoice(
            plan,
            coupon=coupon,
            on_top=tax if how == "on_top" else 0,
            inside=tax if how == "inside" else 0,
            lines=usage(world, random) if step == "usage" else None,
        )
    elif step in ("pay", "part", "outside") and open_ones:
        invoice = random.choice(open_ones)
        due = invoice["amount_remaining"]
        world.pay(invoice, random.randint(1, due) if step == "part" else due, outside=step == "outside")
    elif step == "give up" and open_ones:
        world.give_up(random.choice(open_ones))
    elif step == "void" and untouched:
        world.void(random.choice(untouched))
    elif step == "credit" and (open_ones or paid):
        invoice = random.choice(open_ones + paid)
        noted = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
        most = invoice["total"] - noted
        if most > 0:
            parts = {"refund": random.randint(0, most), "outside": random.randint(0, most)}
            world.credit(invoice, random.randint(1, most), failing=random.random() < 0.2, **parts)
    elif step == "refund" and paid:
        world.refund(random.randint(1, random.choice(paid)["amount_paid"]))
    elif step == "dispute" and paid:
        world.dispute(random.choice(paid)["amount_paid"], inquiry=random.random() < 0.3)
    elif step == "refund fails":
        for refund in [r for r in world.made("refund") if r["status"] == "succeeded"][:1]:
            world.refund_fails(refund)
    elif step == "dispute ends":
        for dispute in [d for d in world.made("dispute") if d["status"].endswith("needs_response")][:1]:
            world.dispute_ends(dispute, won=random.random() < 0.5)


def usage(world: World, random: randoms.Random) -> list[Json] | None:
    """October's usage as lines for an invoice: the first time only, since a month is closed once."""
    tenant_id = world.person.tenant.id
    with tenant_scope(tenant_id):
        if InvoiceLinePush.objects.exists():
            return None
    book = BOOKS[world.currency]
    store_events([call(tenant_id, 1, cost=20 * random.randint(10**6, 10**8), at=MID_OCTOBER, book=book)])
    usage_rollup(tenant_id=tenant_id)
    closed = period_close(tenant_id=tenant_id, period=MID_OCTOBER.date().replace(day=1), allowance_nano=0)
    lines: list[Json] = []
    with tenant_scope(tenant_id):
        for line in closed.lines:
            cents, left = to_cents(line.amount_nano)
            push = InvoiceLinePush.objects.create(
                period=closed.close.period,
                line_key=line.key,
                description=line.description,
                amount_nano=line.amount_nano,
                amount_cents=cents,
                remainder_nano=left,
                sent_at=now(),  # or another test's tick would send it to a Stripe that does not know the customer
            )
            lines.append(
                {
                    "id": f"il_{push.pk}",
                    "amount": cents,
                    "metadata": {"push": str(push.pk)},
                    "parent": {"invoice_item_details": {"invoice_item": f"ii_{push.pk}"}},
                    "period": {"start": 1_790_000_000, "end": 1_790_000_000},
                }
            )
    return lines


def in_cents(world: World) -> dict[str, int]:
    """The accounts; usage and what rounding left of it come to whole cents together."""
    with tenant_scope(world.person.tenant.id):
        found = Counter(balances())
    found["usage"] = found.pop("usage_revenue", 0) + found.pop("rounding", 0)
    assert all(amount % CENT == 0 for amount in found.values())
    return {account: amount // CENT for account, amount in found.items() if amount}


def expected(world: World) -> dict[str, int]:
    """What the world counted, and what it says of itself: open invoices are what is owed."""
    remaining = sum(i["amount_remaining"] for i in world.made("invoice") if i["status"] == "open")
    assert world.expected["receivable"] == remaining
    return dict(world.expected)


def transactions(world: World) -> int:
    with tenant_scope(world.person.tenant.id):
        return LedgerTransaction.objects.count()
