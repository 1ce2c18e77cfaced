"""Subscribing, changing and leaving a plan, against the emulator with the real client."""

import datetime as dt
import re

import pytest
from django.test import override_settings

from billing.errors import CardRefused, PaymentsAway, PaymentsClosed, PlanNotSold, PlanUnknown, SubscriptionMissing
from billing.models import AutoTopUp, BillingCustomer, CatalogueEntry, Subscription, TenantEntitlement, TopUpConsent
from billing.selectors import subscriptions as derived
from billing.selectors.subscriptions import entitlement_for, invoices, subscription_current
from billing.services import entitlements
from billing.services.catalogue import catalogue_push
from billing.services.commands import commands_send
from billing.services.entitlements import NEWS, entitlements_due, override_revoke, override_set, plan_grant
from billing.services.subscriptions import (
    checkout_finish,
    checkout_start,
    plan_change,
    plan_preview,
    portal_start,
    subscription_cancel,
    subscription_keep,
)
from billing.services.sync import customer_sync
from billing.stripe_port import stripe_port
from kit import redis
from kit.clock import now
from kit.errors import BadRequest, NotFound
from tenants.models import AuditEvent
from tenants.scope import ops_scope, tenant_scope
from tests.billing.commanded import asked, checkout_url
from tests.billing.emulated import CANCEL, DECLINED, GOOD, SUCCESS, Emulator
from tests.conftest import Cast, Person
from tests.console.things import made_job


def buy(person: Person, emulator: Emulator, plan: str = "developer") -> str:
    """Go through checkout as the buyer does; the session's id."""
    status, _, headers = emulator.pay(checkout_url(person.tenant.id, plan))
    assert status == 303
    session_id = headers["Location"].split("session=")[1]
    with tenant_scope(person.tenant.id):
        assert checkout_finish(session_id=session_id).status == "complete"
    return session_id


def test_a_new_tenant_has_the_free_plan(cast: Cast) -> None:
    found = entitlement_for(cast.owner.tenant.id)
    assert (found.plan, found.limits.parallel_jobs) == ("free", 1)


def test_a_paid_checkout_gives_the_plan_at_once(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    found = entitlement_for(cast.owner.tenant.id)
    assert (found.plan, found.plan_version, found.standing) == ("developer", 6, "good")
    with tenant_scope(cast.owner.tenant.id):
        current = subscription_current()
        assert current is not None
        assert (current.status, current.plan) == ("active", "developer")
        assert [invoice.total for invoice in invoices()] == [2900]
        customer = BillingCustomer.objects.get()
        assert customer.email == cast.owner.user.email
        assert AuditEvent.objects.filter(action="plan.changed").exists() or TenantEntitlement.objects.exists()


def test_a_declined_card_leaves_the_tenant_on_its_plan(cast: Cast, stripe_house: Emulator) -> None:
    url = checkout_url(cast.owner.tenant.id)
    status, text, _ = stripe_house.pay(url, DECLINED)
    assert (status, "Your card was declined." in text) == (402, True)
    session_id = url.rsplit("/", 1)[1]
    with tenant_scope(cast.owner.tenant.id):
        outcome = checkout_finish(session_id=session_id)
        assert (outcome.status, outcome.entitlement.plan) == ("open", "free")
        assert not Subscription.objects.exists()
    assert stripe_house.pay(url, GOOD)[0] == 303


def test_two_started_checkouts_can_never_both_be_paid(cast: Cast, stripe_house: Emulator) -> None:
    first, second = checkout_url(cast.owner.tenant.id), checkout_url(cast.owner.tenant.id, "team")
    assert stripe_house.pay(first)[0] == 410
    assert stripe_house.pay(second)[0] == 303


def test_a_subscribed_tenant_changes_its_plan_instead_of_buying_again(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        with pytest.raises(PlanNotSold, match="already has a subscription"):
            checkout_start(plan="team", success_url=SUCCESS, cancel_url=CANCEL)
        preview = plan_preview(plan="team")()
    assert 16_900 <= preview["total"] <= 17_000
    asked(cast.owner.tenant.id, lambda: plan_change(plan="team", at=preview["at"]))
    assert entitlement_for(cast.owner.tenant.id).plan == "team"
    with tenant_scope(cast.owner.tenant.id):
        assert [invoice.total for invoice in invoices()] == [preview["total"], 2900], "charged as shown"
        with pytest.raises(PlanNotSold, match="already is on"):
            plan_change(plan="team")


def test_the_page_before_a_change_says_what_it_charges_and_what_it_brings(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    page, ada = f"{cast.owner.home}/billing/plan", cast.owner.browser
    assert f"{page}?plan=team" in ada.get(f"{cast.owner.home}/billing/").content.decode()
    with tenant_scope(cast.owner.tenant.id):
        charge = plan_preview(plan="team")()["total"]
    words = " ".join(ada.get(f"{page}?plan=team").content.decode().split())
    assert re.search(rf"${charge / 100:.2f}|\$169\.\d\d|\$170\.00", words), "to the minute"
    assert "Credited to the next invoices" not in words and "Charged now, before tax" in words
    assert ada.get(f"{page}?plan=developer").status_code == 409, "the plan it is on"
    assert ada.get(f"{page}?plan=gold").status_code == 400
    assert cast.teammate.browser.get(f"{page}?plan=team").status_code == 403
    assert ada.post(page, {"action": "change", "plan": "team"}).status_code == 302
    assert entitlement_for(cast.owner.tenant.id).plan == "team"
    back = " ".join(ada.get(f"{page}?plan=developer").content.decode().split())
    assert "Credited to the next invoices" in back


def test_closing_the_organisation_ends_its_plan_and_its_jobs(cast: Cast, stripe_house: Emulator) -> None:
    ada, page = cast.owner, f"{cast.owner.home}/settings/close"
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        agreed = TopUpConsent.objects.create(below_nano=10, amount_nano=10**10, month_most_nano=10**10, text="yes")
        AutoTopUp.objects.create(consent=agreed)
    job = made_job(ada, state="queued")
    words = " ".join(ada.browser.get(page).content.decode().split())
    assert "1 job that waits or runs is cancelled." in words and "is not renewed." in words
    with override_settings(STRIPE_API_BASE="http://127.0.0.1:9"):
        stripe_port.cache_clear()
        assert ada.browser.post(page, {"confirm_name": ada.tenant.name}).status_code == 302
    stripe_port.cache_clear()
    assert ada.browser.get(f"{ada.home}/billing/").status_code == 404, "closed, though Stripe was away"
    commands_send(ada.tenant.id)
    with tenant_scope(ada.tenant.id):
        current = subscription_current()
        assert current is not None and current.cancel_at_period_end
        job.refresh_from_db()
        assert job.state == "cancelled" and not AutoTopUp.objects.get().on
    assert stripe_house.v1.subscriptions.retrieve(current.stripe_id).cancel_at_period_end


def test_a_refused_upgrade_keeps_the_plan(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    stripe_house.control("/payments/fail", {"decline_code": "insufficient_funds"})
    with pytest.raises(CardRefused, match="insufficient funds"):
        asked(cast.owner.tenant.id, lambda: plan_change(plan="team"))
    assert entitlement_for(cast.owner.tenant.id).plan == "developer"
    with tenant_scope(cast.owner.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())
    assert entitlement_for(cast.owner.tenant.id).plan == "developer"


def test_leaving_lasts_until_the_end_of_the_period_and_can_be_taken_back(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    for write, ends in (
        (subscription_cancel, True),
        (subscription_keep, False),
        (lambda: plan_change(plan="free"), True),
    ):
        asked(tenant_id, write)
        assert entitlement_for(tenant_id).plan == "developer"
        with tenant_scope(tenant_id):
            current = subscription_current()
            assert current is not None and current.cancel_at_period_end == ends


@pytest.mark.parametrize(
    ("plan", "error"), [("platinum", PlanUnknown), ("enterprise", PlanNotSold), ("free", PlanNotSold)]
)
def test_a_plan_that_is_not_sold_cannot_be_bought(
    cast: Cast, stripe_house: Emulator, plan: str, error: type[Exception]
) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(error):
        checkout_start(plan=plan, success_url=SUCCESS, cancel_url=CANCEL)


def test_without_a_subscription_there_is_nothing_to_leave(cast: Cast, stripe_house: Emulator) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(SubscriptionMissing):
        subscription_cancel()


def test_a_strangers_checkout_session_is_not_found(cast: Cast, stripe_house: Emulator) -> None:
    session_id = buy(cast.owner, stripe_house)
    with tenant_scope(cast.stranger.tenant.id):
        for wrong in (session_id, "cs_test_nobody", "../../v1/customers", ""):
            with pytest.raises(NotFound):
                checkout_finish(session_id=wrong)
    assert entitlement_for(cast.stranger.tenant.id).plan == "free"


def test_the_portal_opens_for_the_tenants_own_customer(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        ask = portal_start(return_url=CANCEL)
    url = ask()
    assert "Tunesmith Developer" in stripe_house.page(url)[1]


def test_the_catalogue_is_pushed_once(stripe_house: Emulator) -> None:
    CatalogueEntry.objects.all().delete()
    first = {entry.lookup_key: entry.price_id for entry in catalogue_push()}
    CatalogueEntry.objects.all().delete()
    assert {entry.lookup_key: entry.price_id for entry in catalogue_push()} == first
    ways = ("month_usd", "year_usd", "month_usd_seat", "year_usd_seat")
    assert set(first) == {
        *(f"tunesmith_{plan}_{version}" for plan in ("developer", "team") for version in (1, 2, 3, 4)),
        *(f"tunesmith_{plan}_{way}" for plan in ("developer_5", "team_5", "team_6", "starter_1") for way in ways),
        *(
            f"tunesmith_{plan}_{way.replace('usd', currency)}"
            for plan in ("developer_6", "team_7", "starter_2")
            for way in ways
            for currency in ("usd", "eur")
        ),
    }


def test_a_change_of_plan_is_told_to_every_process(cast: Cast) -> None:
    news = redis.client().pubsub()
    news.subscribe(NEWS)
    assert news.get_message(timeout=5)["type"] == "subscribe"
    with tenant_scope(cast.owner.tenant.id):
        plan_grant(plan="team", reason="a friend of the house", created_by="shell")
    heard = [news.get_message(ignore_subscribe_messages=True, timeout=5)]
    while heard[-1] and heard[-1]["data"] != str(cast.owner.tenant.id).encode():
        heard.append(news.get_message(ignore_subscribe_messages=True, timeout=5))
    assert heard[-1]
    news.close()
    assert entitlement_for(cast.owner.tenant.id).plan == "team"


def test_an_override_ends_by_the_clock_and_by_hand(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        end = now() + dt.timedelta(hours=1)
        override_set(limits={"parallel_jobs": 9}, valid_until=end, reason="a fair", created_by="ops")
        kept = override_set(limits={"concurrency": 77}, reason="a contract", created_by="ops")
    assert entitlement_for(tenant_id).limits.parallel_jobs == 9
    entitlements_due()
    assert entitlement_for(tenant_id).limits.parallel_jobs == 9
    for module in (entitlements, derived):
        monkeypatch.setattr(module, "now", lambda: end)
    entitlements_due()
    found = entitlement_for(tenant_id)
    assert (found.limits.parallel_jobs, found.limits.concurrency) == (1, 77)
    with tenant_scope(tenant_id):
        override_revoke(override_id=kept.pk, reason="ended")
        override_revoke(override_id=kept.pk, reason="ended")
    assert entitlement_for(tenant_id).limits.concurrency == 4


@pytest.mark.parametrize(
    "values", [{"limits": {"wings": 2}}, {"limits": {"concurrency": -1}}, {"reason": " "}, {"plan": "platinum"}]
)
def test_an_override_that_cannot_be_is_refused(cast: Cast, values: dict[str, object]) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest):
        override_set(**{"reason": "why", "created_by": "ops", **values})  # type: ignore[arg-type]


def test_an_override_of_another_tenant_is_not_found(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override = override_set(limits={"concurrency": 7}, reason="why", created_by="ops")
    with tenant_scope(cast.stranger.tenant.id), pytest.raises(NotFound):
        override_revoke(override_id=override.pk, reason="mine")


def test_without_a_key_payments_are_closed(cast: Cast) -> None:
    with override_settings(STRIPE_SECRET_KEY=""):
        stripe_port.cache_clear()
        with tenant_scope(cast.owner.tenant.id), pytest.raises(PaymentsClosed):
            portal_start(return_url=CANCEL)
    stripe_port.cache_clear()


def test_when_stripe_is_away_the_error_says_so_and_nothing_is_kept(cast: Cast) -> None:
    with override_settings(STRIPE_SECRET_KEY="sk_test_x", STRIPE_API_BASE="http://127.0.0.1:9"):
        stripe_port.cache_clear()
        with tenant_scope(cast.owner.tenant.id):
            ask = portal_start(return_url=CANCEL)
        with pytest.raises(PaymentsAway):
            ask()
    stripe_port.cache_clear()
    with ops_scope("a test"):
        assert not BillingCustomer.ops.filter(tenant_id=cast.owner.tenant.id).exists()
