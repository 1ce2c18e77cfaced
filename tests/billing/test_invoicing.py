"""Lines of a closed month on their way to Stripe's invoice."""

import dataclasses
import datetime as dt
from uuid import UUID

import pytest

from billing.models import BillingCustomer, InvoiceLinePush, PeriodClose, StripeCommand, Subscription
from billing.selectors.subscriptions import card_id, subscription_current
from billing.services import invoicing
from billing.services.invoicing import invoice_lines_push, periods_push_all, upcoming_fetch
from billing.services.mirror import invoice_mirror
from billing.services.sync import subscription_sync
from billing.stripe_port import StripePort
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast

OCTOBER, SEPTEMBER = dt.date(2026, 10, 1), dt.date(2026, 9, 1)
CENT = 10_000_000


@dataclasses.dataclass
class Line:
    key: str
    amount_nano: int
    description: str = "Classification"


def taken_for_dead(tenant_id: UUID) -> None:
    """A while after whoever sent something died."""
    with tenant_scope(tenant_id):
        StripeCommand.objects.exclude(claimed_until=None).update(claimed_until=now())


def items(emulator: Emulator, cast: Cast) -> list[tuple[int, str | None]]:
    with tenant_scope(cast.owner.tenant.id):
        customer = BillingCustomer.objects.get().stripe_id
    found = emulator.v1.invoice_items.list({"customer": customer, "limit": 100}).data
    return [(item.amount, item.description) for item in found]


def test_lines_are_sent_once_and_stand_on_the_next_invoice(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    lines = [Line("classify:a", 1_234 * CENT), Line("allowance", -200 * CENT, "Included in your plan")]
    tenant_id = cast.owner.tenant.id
    assert invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=lines) == 2
    assert invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=lines) == 0
    assert sorted(items(stripe_house, cast)) == [
        (-200, "Included in your plan (2026-10)"),
        (1_234, "Classification (2026-10)"),
    ]
    with tenant_scope(tenant_id):
        upcoming = upcoming_fetch()
    assert upcoming is not None
    assert upcoming["total"] == 2_900 + 1_234 - 200


def test_parts_of_a_cent_are_carried_and_never_lost(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id, third = cast.owner.tenant.id, 4_000_000
    for period in (SEPTEMBER, OCTOBER):
        invoice_lines_push(tenant_id=tenant_id, period=period, lines=[Line("classify:a", third)])
    with tenant_scope(tenant_id):
        first, second = InvoiceLinePush.objects.order_by("period")
    assert (first.amount_cents, first.remainder_nano, first.stripe_item_id) == (0, third, "")
    assert (second.amount_cents, second.remainder_nano) == (1, 2 * third - CENT)
    assert [amount for amount, _ in items(stripe_house, cast)] == [1]


def test_a_crash_after_sending_does_not_send_twice(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(cast.owner, stripe_house)
    tenant_id, line = cast.owner.tenant.id, Line("classify:a", 500 * CENT)
    real = StripePort.invoice_item_add

    def dies(self: StripePort, **values: object) -> str:
        real(self, **values)  # type: ignore[arg-type]
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(StripePort, "invoice_item_add", dies)
        with pytest.raises(SystemExit):
            invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=[line])
    taken_for_dead(tenant_id)
    assert invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=[line]) == 1
    assert len(items(stripe_house, cast)) == 1


def test_after_a_day_what_stripe_has_is_read_before_anything_is_sent(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(cast.owner, stripe_house)
    tenant_id, line = cast.owner.tenant.id, Line("classify:a", 500 * CENT)
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=[line])
    with tenant_scope(tenant_id):
        sent = InvoiceLinePush.objects.get()
        InvoiceLinePush.objects.update(sent_at=None, stripe_item_id="")
        command = StripeCommand.objects.get(operation="invoice_item")
        command.state, command.first_sent_at = "waiting", now() - dt.timedelta(days=2)
        command.save()
    monkeypatch.setattr(StripePort, "invoice_item_add", None)
    assert invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=[line]) == 1
    with tenant_scope(tenant_id):
        assert InvoiceLinePush.objects.get().stripe_item_id == sent.stripe_item_id


def test_without_a_subscription_the_lines_get_an_invoice_of_their_own(cast: Cast, stripe_house: Emulator) -> None:
    invoice_lines_push(tenant_id=cast.owner.tenant.id, period=OCTOBER, lines=[Line("classify:a", 700 * CENT)])
    with tenant_scope(cast.owner.tenant.id):
        customer = BillingCustomer.objects.get()
    made = stripe_house.v1.invoices.list({"customer": customer.stripe_id}).data
    assert [(invoice.total, invoice.collection_method) for invoice in made] == [(700, "send_invoice")]


@pytest.mark.parametrize("card", [True, False])
def test_the_last_usage_of_a_plan_that_ended_is_charged_to_its_card_or_sent_by_mail(
    cast: Cast, stripe_house: Emulator, card: bool
) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        customer, subscription = BillingCustomer.objects.get(), Subscription.objects.get()
        named = card_id()
        stripe_house.v1.subscriptions.cancel(subscription.stripe_id)
        subscription_sync(customer=customer, subscription_id=subscription.stripe_id)
        if not card:  # neither with the subscription nor with the customer
            row = Subscription.objects.get()
            Subscription.objects.update(raw={**row.raw, "default_payment_method": None})
            BillingCustomer.objects.update(card=None)
        assert subscription_current() is None and named.startswith("pm_")
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=[Line("classify:a", 700 * CENT)])
    made = stripe_house.v1.invoices.list({"customer": customer.stripe_id}).data[0]
    how = ("charge_automatically", named) if card else ("send_invoice", None)
    assert (made.total, made.collection_method, made.default_payment_method) == (700, *how)


def test_an_invoice_with_many_lines_is_mirrored_whole(cast: Cast, stripe_house: Emulator) -> None:
    lines = [Line(f"classify:{n}", n * CENT) for n in range(1, 24)]
    invoice_lines_push(tenant_id=cast.owner.tenant.id, period=OCTOBER, lines=lines)
    with tenant_scope(cast.owner.tenant.id):
        customer = BillingCustomer.objects.get()
        made = stripe_house.v1.invoices.list({"customer": customer.stripe_id}).data[0]
        assert made.lines.has_more
        row = invoice_mirror(customer, made.id)
        assert row is not None
        assert sorted(line["amount"] for line in row.lines) == list(range(1, 24))


def test_the_tick_pushes_closed_months_once(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        PeriodClose.objects.create(
            period=OCTOBER,
            usage_nano=300 * CENT,
            allowance_nano=0,
            net_nano=300 * CENT,
            lines=[{"key": "k", "description": "d", "quantity": 1, "unit": "tokens", "amount_nano": 300 * CENT}],
        )
    periods_push_all()
    periods_push_all()
    assert items(stripe_house, cast) == [(300, "d (2026-10)")]
    assert dt.timedelta(days=31) < invoicing.LOOK_BACK


def test_a_coupon_takes_nothing_off_usage_and_gives_no_allowance_away(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    coupon = stripe_house.v1.coupons.create({"percent_off": 100, "duration": "forever"})
    with tenant_scope(tenant_id):
        subscription = Subscription.objects.get().stripe_id
    stripe_house.v1.subscriptions.update(subscription, {"discounts": [{"coupon": coupon.id}]})
    lines = [Line("classify:a", 2_500 * CENT), Line("allowance", -2_000 * CENT, "Included in your plan")]
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=lines)
    with tenant_scope(tenant_id):
        upcoming = upcoming_fetch()
    assert upcoming is not None
    assert upcoming["total"] == 500, "the plan is free, what was used beyond it is not"
