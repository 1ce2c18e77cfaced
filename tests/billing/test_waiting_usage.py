"""Usage that was sent to Stripe and waits there for a renewal that never comes gets an invoice of its own, once."""

import datetime as dt
from collections.abc import Callable
from uuid import UUID

import pytest

from billing.models import BillingCustomer, BillingFinding, Invoice, InvoiceLinePush, StripeCommand, Subscription
from billing.selectors.subscriptions import usage_subscription
from billing.services.commands import commands_send
from billing.services.invoicing import invoice_lines_push, waiting_invoice_all
from billing.services.receivables import mirrors_book_all
from billing.services.reconcile import stripe_compare
from billing.services.subscriptions import plan_pause, plan_resume
from billing.services.sync import customer_sync
from billing.stripe_port import stripe_port
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.commanded import asked
from tests.billing.emulated import Emulator
from tests.billing.test_invoicing import CENT, OCTOBER, Line
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast

LINES = [Line("classify:a", 1_200 * CENT), Line("allowance", -200 * CENT, "Included in your plan")]


def paused(tenant_id: UUID, emulator: Emulator) -> None:
    asked(tenant_id, plan_pause)


def cancelled(tenant_id: UUID, emulator: Emulator) -> None:
    with tenant_scope(tenant_id):
        emulator.v1.subscriptions.cancel(Subscription.objects.get().stripe_id)


ENDS = pytest.mark.parametrize("end", [paused, cancelled])
Way = Callable[[UUID, Emulator], None]


def heard(tenant_id: UUID) -> None:
    """What the webhooks say."""
    with tenant_scope(tenant_id):
        customer_sync(customer=BillingCustomer.objects.get())


def own(tenant_id: UUID, emulator: Emulator) -> list[int]:
    """Totals of the invoices that we made."""
    with tenant_scope(tenant_id):
        customer = BillingCustomer.objects.get().stripe_id
    return [
        one.total for one in emulator.v1.invoices.list({"customer": customer}).data if one.billing_reason == "manual"
    ]


def commands(tenant_id: UUID) -> list[str]:
    with tenant_scope(tenant_id):
        rows = StripeCommand.objects.filter(operation="invoice_make").order_by("created_at")
        return list(rows.values_list("state", flat=True))


@ENDS
def test_what_waits_when_a_plan_rests_or_ends_is_invoiced_once(cast: Cast, stripe_house: Emulator, end: Way) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=LINES)
    waiting_invoice_all()
    assert commands(tenant_id) == [], "the renewal takes them"
    end(tenant_id, stripe_house)
    heard(tenant_id)
    for _ in range(3):
        waiting_invoice_all()
        commands_send(tenant_id)
    assert own(tenant_id, stripe_house) == [1_000]
    heard(tenant_id)
    waiting_invoice_all()
    assert (own(tenant_id, stripe_house), commands(tenant_id)) == ([1_000], ["done"])
    mirrors_book_all()
    with tenant_scope(tenant_id):
        made = Invoice.objects.get(billing_reason="manual").stripe_id
        assert set(InvoiceLinePush.objects.values_list("invoice_id", flat=True)) == {made}


@ENDS
def test_a_month_that_closes_before_the_end_is_heard_of_is_invoiced_once(
    cast: Cast, stripe_house: Emulator, end: Way
) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    end(tenant_id, stripe_house)
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=LINES)
    heard(tenant_id)
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=LINES)
    for _ in range(2):
        waiting_invoice_all()
    assert own(tenant_id, stripe_house) == [1_000]


def test_a_plan_that_runs_again_takes_it_along_and_a_second_rest_is_another_matter(
    cast: Cast, stripe_house: Emulator
) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=LINES)
    asked(tenant_id, plan_pause)
    asked(tenant_id, plan_resume)
    heard(tenant_id)
    waiting_invoice_all()
    assert own(tenant_id, stripe_house) == [], "it is on the invoice of the return"
    invoice_lines_push(tenant_id=tenant_id, period=dt.date(2026, 11, 1), lines=LINES[:1])
    asked(tenant_id, plan_pause)
    waiting_invoice_all()
    heard(tenant_id)
    waiting_invoice_all()
    assert own(tenant_id, stripe_house) == [1_200]


def test_lines_that_an_older_version_bound_to_the_plan_are_taken_along(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=LINES[:1])
    with tenant_scope(tenant_id):
        push, customer = InvoiceLinePush.objects.get(), BillingCustomer.objects.get().stripe_id
        subscription = Subscription.objects.get().stripe_id
        stripe_house.v1.invoice_items.delete(push.stripe_item_id)
        item = stripe_port().invoice_item_add(
            customer_id=customer,
            amount_cents=1_200,
            currency="usd",
            description="Classification",
            period=[1_790_000_000, 1_790_000_000],
            metadata={"push": str(push.pk)},
            key=f"older-{push.pk}",
            subscription_id=subscription,
        )
        InvoiceLinePush.objects.update(stripe_item_id=item)
    invoice_lines_push(tenant_id=tenant_id, period=dt.date(2026, 11, 1), lines=LINES[:1])
    cancelled(tenant_id, stripe_house)
    heard(tenant_id)
    for _ in range(2):
        waiting_invoice_all()
    assert own(tenant_id, stripe_house) == [1_200, 1_200]
    heard(tenant_id)
    waiting_invoice_all()
    assert stripe_port().items_waiting(customer) == [] and commands(tenant_id) == ["done"]


@pytest.mark.parametrize("change", [{"status": "unpaid"}, {"raw": {"pause_collection": {"behavior": "void"}}}])
def test_a_plan_that_stripe_only_makes_drafts_for_takes_nothing_along(
    cast: Cast, stripe_house: Emulator, change: dict[str, object]
) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        row = Subscription.objects.get()
        Subscription.objects.update(**{**change, "raw": {**row.raw, **change.get("raw", {})}})  # type: ignore[dict-item]
        assert usage_subscription() is None
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=LINES)
    assert own(tenant_id, stripe_house) == [1_000]


def test_usage_that_no_invoice_asks_for_in_forty_days_is_a_finding(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=LINES[:1])
    with tenant_scope(tenant_id):
        push = InvoiceLinePush.objects.get()

    def found() -> list[str]:
        stripe_compare()
        rows = BillingFinding.objects.filter(object=push.public_id, resolved_at=None)
        return [row.found for row in rows]

    assert found() == []
    with tenant_scope(tenant_id):
        InvoiceLinePush.objects.update(sent_at=now() - dt.timedelta(days=41))
    assert found() == ["on no invoice"]
    cancelled(tenant_id, stripe_house)
    heard(tenant_id)
    waiting_invoice_all()
    heard(tenant_id)
    (draft,) = found()
    assert draft.startswith("on the draft in_")
    made = draft.split()[-1]
    stripe_house.v1.invoices.finalize_invoice(made)
    heard(tenant_id)
    assert found() == []
