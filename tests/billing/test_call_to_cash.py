"""One month of money, whole: calls, sums, the closed bill, Stripe's invoice, payment, and books that agree."""

from __future__ import annotations

import datetime as dt

from django.core.management import call_command

from billing.models import AllowanceChange, BillingCustomer, Invoice, Refund, Subscription
from billing.selectors.bills import balances
from billing.services.invoicing import invoice_lines_push
from billing.services.ledger import period_close
from billing.services.metering import usage_rollup
from billing.services.mirror import invoice_mirror
from billing.services.receivables import mirrors_book_all
from billing.services.sync import customer_sync
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import call, store_events
from tests.billing.test_subscriptions import buy
from tests.billing.test_webhooks import deliver
from tests.conftest import Cast

OCTOBER = dt.date(2026, 10, 1)
MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)


def book(cast: Cast) -> dict[str, int]:
    """Book what is mirrored, and read the balances."""
    mirrors_book_all()
    with tenant_scope(cast.owner.tenant.id):
        return {account: amount for account, amount in balances().items() if amount}


def test_a_month_from_calls_to_cash_adds_up_to_the_nano(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, stripe_house)
    assert book(cast) == {"cash": 2_900 * CENT, "subscription_revenue": -2_900 * CENT}

    with tenant_scope(tenant_id):  # as if it had been bought before October
        AllowanceChange.objects.update(since=dt.datetime(2026, 9, 1, tzinfo=dt.UTC))
    used = 23 * NANO + 456_780
    store_events(
        [call(tenant_id, 1, cost=20 * NANO, at=MID_OCTOBER), call(tenant_id, 2, cost=used - 20 * NANO, at=MID_OCTOBER)]
    )
    usage_rollup(tenant_id=tenant_id)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    assert closed.close.net_nano == used - 20 * NANO, "the Developer plan includes $20"
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=closed.lines)

    with tenant_scope(tenant_id):
        customer, subscription = BillingCustomer.objects.get(), Subscription.objects.get()
    made = stripe_house.v1.invoices.create(
        {
            "customer": customer.stripe_id,
            "subscription": subscription.stripe_id,
            "pending_invoice_items_behavior": "include",
            "auto_advance": False,
        }
    )
    if stripe_house.v1.invoices.finalize_invoice(made.id).status == "open":
        stripe_house.v1.invoices.pay(made.id)
    with tenant_scope(tenant_id):
        invoice_mirror(customer, made.id)
    found = book(cast)
    with tenant_scope(tenant_id):
        row = Invoice.objects.get(stripe_id=made.id)
    assert (row.status, row.total, row.amount_paid) == ("paid", 300, 300)
    assert found == {
        "cash": 3_200 * CENT,
        "subscription_revenue": -2_900 * CENT,
        "usage_revenue": -used,
        "allowance": 20 * NANO,
        "rounding": 456_780,
    }
    assert sum(found.values()) == 0
    call_command("billing_check", tenant=[tenant_id])


def test_a_refund_comes_by_its_event_and_by_the_sweep(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, stripe_house)
    with tenant_scope(tenant_id):
        customer = BillingCustomer.objects.get().stripe_id
    charge = stripe_house.v1.charges.list({"customer": customer}).data[0]
    stripe_house.v1.refunds.create({"charge": charge.id, "amount": 900})
    told = [event for event in stripe_house.events() if event.type == "refund.created"][-1]
    assert deliver(told.to_dict(for_json=True)) == "done"
    plan = -2_900 * CENT
    assert book(cast) == {"cash": 2_000 * CENT, "refund": 900 * CENT, "subscription_revenue": plan}
    stripe_house.v1.refunds.create({"charge": charge.id})  # nobody tells of this one
    with tenant_scope(tenant_id):
        customer_sync(customer=BillingCustomer.objects.get())
        assert Refund.objects.count() == 2
    assert book(cast) == {"refund": 2_900 * CENT, "subscription_revenue": plan}
    call_command("billing_check", tenant=[tenant_id])
