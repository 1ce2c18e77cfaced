"""Plans by the month and by the year, trials and promotion codes, against the emulator with the real client."""

import datetime as dt
from pathlib import Path

import pytest
from django.core.management import call_command

from billing.errors import PlanNotSold
from billing.models import AllowanceChange, Invoice, Subscription
from billing.plans import Trial, plan_book, promotions
from billing.selectors.bills import balances, invoice_preview
from billing.selectors.subscriptions import (
    customer_current,
    entitlement_for,
    entitlement_now,
    interval_of,
    plan_named,
    subscription_current,
    usage_subscription,
)
from billing.selectors.trials import trial_due
from billing.services import catalogue
from billing.services.catalogue import catalogue_push, price_ensure, promotions_push
from billing.services.invoicing import invoice_lines_push
from billing.services.ledger import period_close
from billing.services.metering import usage_rollup
from billing.services.receivables import mirrors_book_all
from billing.services.subscriptions import (
    checkout_finish,
    checkout_start,
    plan_change,
    plan_preview,
)
from billing.services.sync import customer_sync, subscription_sync
from billing.stripe_port import StripePort, stripe_port
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.commanded import asked
from tests.billing.emulated import CANCEL, KEY, SUCCESS, Emulator
from tests.billing.money import call, store_events
from tests.billing.test_invoicing import Line
from tests.billing.test_plan_files import PROMOTION, published
from tests.conftest import Cast, Person

OCTOBER = dt.date(2026, 10, 1)


def start(person: Person, plan: str = "developer", interval: str = "month") -> str:
    """Where the buyer goes."""
    command = asked(
        person.tenant.id,
        lambda: checkout_start(plan=plan, interval=interval, success_url=SUCCESS, cancel_url=CANCEL),
    )
    assert command.answer is not None
    return str(command.answer["url"])


def buy(person: Person, emulator: Emulator, plan: str = "developer", interval: str = "month") -> Subscription:
    """Subscribe as the buyer does."""
    return finish(person, emulator, start(person, plan, interval))


def finish(person: Person, emulator: Emulator, url: str) -> Subscription:
    """Pay, and come back."""
    status, _, headers = emulator.pay(url)
    assert status == 303
    with tenant_scope(person.tenant.id):
        assert checkout_finish(session_id=headers["Location"].split("session=")[1]).status == "complete"
        current = subscription_current()
        assert current is not None
        return current


def sync(current: Subscription) -> None:
    """Fetch it again, in its tenant's scope."""
    customer = customer_current()
    assert customer is not None
    subscription_sync(customer=customer, subscription_id=current.stripe_id)


def paid() -> list[int]:
    """What the scope's invoices took, oldest first."""
    return list(Invoice.objects.order_by("issued_at", "pk").values_list("amount_paid", flat=True))


def test_a_year_is_charged_at_once_and_once(cast: Cast, stripe_house: Emulator) -> None:
    current = buy(cast.owner, stripe_house, interval="year")
    assert (interval_of(current), current.status) == ("year", "active")
    assert (current.plan, current.plan_version) == ("developer", 6)
    assert current.period_end is not None and current.period_start is not None
    assert (current.period_end - current.period_start).days in (365, 366)
    with tenant_scope(cast.owner.tenant.id):
        assert max(paid()) == 29_000
        assert invoice_preview().subscription_cents == 0, "a month of a yearly plan asks for its usage alone"


def test_usage_of_a_yearly_plan_is_invoiced_by_the_month_to_the_nano(cast: Cast, stripe_house: Emulator) -> None:
    current = buy(cast.owner, stripe_house, interval="year")
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        assert usage_subscription() is None
        AllowanceChange.objects.update(since=dt.datetime(2026, 9, 1, tzinfo=dt.UTC))
    used = 50 * NANO
    store_events([call(tenant_id, 1, cost=used, at=dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC))])
    usage_rollup(tenant_id=tenant_id)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    for _ in range(2):
        invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=closed.lines)
    with tenant_scope(tenant_id):
        customer = customer_current()
        assert customer is not None
        customer_sync(customer=customer)
        (usage,) = Invoice.objects.filter(subscription_id="")
        assert (usage.total, usage.currency) == (3_000, "usd"), "$50 less the $20 that each month includes"
    stripe_house.v1.invoices.finalize_invoice(usage.stripe_id)
    if stripe_house.v1.invoices.retrieve(usage.stripe_id).status == "open":
        stripe_house.v1.invoices.pay(usage.stripe_id)
    with tenant_scope(tenant_id):
        customer_sync(customer=customer)
    mirrors_book_all()
    with tenant_scope(tenant_id):
        found = {account: amount for account, amount in balances().items() if amount}
    assert found == {
        "cash": (29_000 + 3_000) * CENT,
        "subscription_revenue": -29_000 * CENT,
        "usage_revenue": -used,
        "allowance": 20 * NANO,
    }
    call_command("billing_check", tenant=[tenant_id])
    upcoming = stripe_port().upcoming_fetch(current.stripe_id)
    assert upcoming is not None
    assert upcoming["total"] == 29_000, "and none of it waits for the renewal"


def test_usage_of_a_monthly_plan_goes_with_its_renewal(cast: Cast, stripe_house: Emulator) -> None:
    current = buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        assert usage_subscription() == current
        assert invoice_preview().subscription_cents == 2_900
    invoice_lines_push(tenant_id=cast.owner.tenant.id, period=OCTOBER, lines=[Line("classify", 30_000_000_000)])
    upcoming = stripe_port().upcoming_fetch(current.stripe_id)
    assert upcoming is not None
    assert upcoming["total"] == 2_900 + 3_000


def test_a_change_to_the_year_charges_what_its_preview_said(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        said = plan_preview(plan="developer", interval="year")()
        assert 26_000 < said["total"] <= 29_000, "a year, less what is left of the month"
    asked(tenant_id, lambda: plan_change(plan="developer", interval="year", at=said["at"]))
    with tenant_scope(tenant_id):
        current = subscription_current()
        assert current is not None
        assert (interval_of(current), current.plan_version) == ("year", 6)
        assert max(paid()) == said["total"]
        with pytest.raises(PlanNotSold, match="already is on"):
            plan_change(plan="developer", interval="year")


@pytest.mark.parametrize("interval", ["week", "", "month or so", "\x00"])
def test_an_interval_that_is_not_sold_is_refused(cast: Cast, stripe_house: Emulator, interval: str) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(PlanNotSold, match="is not sold by the"):
        checkout_start(plan="developer", interval=interval, success_url=SUCCESS, cancel_url=CANCEL)


def test_a_trial_charges_nothing_and_comes_once(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        assert trial_due(plan_named("team")) == Trial(14, card=True, usage_nano=40 * NANO)
        assert trial_due(plan_named("developer")) is None
    url = start(cast.owner, "team")
    assert "Card number" in stripe_house.page(url)[1]
    current = finish(cast.owner, stripe_house, url)
    with tenant_scope(tenant_id):
        assert (current.status, sum(paid())) == ("trialing", 0)
        assert current.trial_end is not None
        assert current.started_at is not None
        assert current.trial_end - current.started_at == dt.timedelta(days=14)
        assert entitlement_for(tenant_id).plan == "team"
        assert trial_due(plan_named("team")) is None
        stripe_house.v1.subscriptions.cancel(current.stripe_id)
        sync(current)
        assert entitlement_for(tenant_id).plan == "free"
    again = buy(cast.owner, stripe_house, "team")
    with tenant_scope(tenant_id):
        assert (again.status, sum(paid())) == ("active", 19_900), "the second time is paid from its first day"


def test_a_trial_without_a_card_ends_the_plan_where_none_is_left(tmp_path: Path) -> None:
    running = Emulator(tmp_path)  # its clock is moved
    port = StripePort(KEY, running.url)
    customer = running.customer(card=None).id
    made = port.checkout_create(
        customer_id=customer,
        price_id=running.price().id,
        success_url=SUCCESS,
        cancel_url=CANCEL,
        metadata={"tenant_id": "t"},
        key="trial",
        trial_days=7,
        trial_card=False,
    )
    assert running.page(made["url"], {"email": "buyer@example.com"})[0] == 303
    (subscription_id,) = port.subscription_ids(customer)
    found = port.subscription_fetch(subscription_id)
    assert found is not None
    assert found["status"] == "trialing"
    assert found["trial_settings"]["end_behavior"]["missing_payment_method"] == "cancel"
    running.advance(days=8)
    ended = port.subscription_fetch(subscription_id)
    running.stop()
    assert ended is not None
    assert ended["status"] == "canceled"


def test_a_promotion_code_takes_off_the_plan_and_nothing_of_its_usage(
    cast: Cast, stripe_house: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = promotions(published(tmp_path, PROMOTION))
    monkeypatch.setattr(catalogue, "promotions", lambda: running)
    catalogue_push()
    promotions_push()
    url = start(cast.owner)
    assert "Promotion code" in stripe_house.page(url)[1]
    assert stripe_house.page(f"{url}/promotion", {"code": "spring27"})[0] == 303
    current = finish(cast.owner, stripe_house, url)
    with tenant_scope(cast.owner.tenant.id):
        assert paid() == [2_900 * 80 // 100]
    invoice_lines_push(tenant_id=cast.owner.tenant.id, period=OCTOBER, lines=[Line("classify", 30_000_000_000)])
    upcoming = stripe_port().upcoming_fetch(current.stripe_id)
    assert upcoming is not None
    assert upcoming["total"] == 2_900 * 80 // 100 + 3_000


def test_seats_at_stripe_make_room_for_members(cast: Cast, stripe_house: Emulator) -> None:
    current = buy(cast.owner, stripe_house)
    seat = price_ensure(plan=plan_book().latest("developer"), part="seat", ask=True)
    items = [{"price": seat.price_id, "quantity": 3}]
    stripe_house.v1.subscriptions.update(current.stripe_id, {"items": items})
    with tenant_scope(cast.owner.tenant.id):
        sync(current)
        found = entitlement_now()
        assert (found.plan, found.limits.members) == ("developer", 5 + 3)
