"""The daily comparison with Stripe, and what becomes of what it finds."""

import datetime as dt
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from billing import checks
from billing.models import BillingCustomer, BillingFinding, Invoice, StripeCommand, StripeEvent, Subscription
from billing.services import reconcile
from billing.services.findings import Seen, books_look, commands_look, finding_resolve, findings_note
from billing.services.reconcile import endpoint_ensure, stripe_compare
from billing.services.subscriptions import customer_write
from billing.services.sync import customer_sync
from billing.services.webhooks import event_receive, events_replay
from billing.tasks.subscriptions import stripe_compare as compare_task
from kit.clock import now
from kit.errors import BadRequest
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator, of_its_own
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast

emulator = pytest.fixture(scope="module")(of_its_own)


@pytest.fixture(autouse=True)
def _nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made a moment ago counts."""
    monkeypatch.setattr(reconcile, "ON_ITS_WAY", dt.timedelta(hours=-1))


def found_of(*objects: str) -> dict[str, tuple[str, str]]:
    """Open findings about these objects: kind -> (expected, found)."""
    stripe_compare()
    rows = BillingFinding.objects.filter(object__in=objects, resolved_at=None)
    return {row.kind: (row.expected, row.found) for row in rows}


def test_what_agrees_is_no_finding_and_what_differs_is_one_until_it_is_mended(
    cast: Cast, stripe_house: Emulator
) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())
        customer = BillingCustomer.objects.get().stripe_id
        sub, invoice = Subscription.objects.get().stripe_id, Invoice.objects.get().stripe_id
    mine = (customer, sub, invoice)
    assert found_of(*mine) == {}
    with tenant_scope(cast.owner.tenant.id):
        Invoice.objects.update(amount_paid=0, status="open")
        Subscription.objects.update(status="past_due")
    said = found_of(*mine)
    assert said["stripe.invoice_differs"] == ("paid, 2900 of which 2900 paid, usd", "open, 2900 of which 0 paid, usd")
    assert said["stripe.subscription_differs"][1].startswith("past_due ")
    first = BillingFinding.objects.get(object=invoice)
    stripe_compare()
    again = BillingFinding.objects.get(object=invoice)
    assert (again.pk, again.first_seen) == (first.pk, first.first_seen) and again.last_seen > first.last_seen
    with tenant_scope(cast.owner.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())
    assert found_of(*mine) == {}
    assert BillingFinding.objects.get(object=invoice).resolved_by == "look"
    with tenant_scope(cast.owner.tenant.id):
        Invoice.objects.all().delete()
        Subscription.objects.all().delete()
    assert set(found_of(*mine)) == {"stripe.invoice_missing", "stripe.subscription_differs"}


def test_a_refund_we_never_heard_of_is_found(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        customer = BillingCustomer.objects.get()
    charge = stripe_house.v1.charges.list({"customer": customer.stripe_id}).data[0]
    stripe_house.v1.refunds.create({"charge": charge.id, "amount": 700})
    assert found_of(charge.id) == {"stripe.refunds_differ": ("700", "0")}
    with tenant_scope(cast.owner.tenant.id):
        customer_sync(customer=customer)
    assert found_of(charge.id) == {}


def test_customers_and_subscriptions_that_should_not_be_are_found(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        ours = BillingCustomer.objects.get().stripe_id
        price = Subscription.objects.get().price_id
    tenant = {"tenant_id": str(cast.owner.tenant.id)}
    second = stripe_house.v1.customers.create({"metadata": tenant}).id
    stranger = stripe_house.v1.customers.create({"name": "Nobody"}).id
    stripe_house.v1.subscriptions.create(
        {"customer": ours, "items": [{"price": price}], "collection_method": "send_invoice", "days_until_due": 30}
    )
    said = found_of(second, stranger, ours)
    assert said["stripe.customer_doubled"] == (ours, "a second one")
    assert said["stripe.customer_unknown"][1] == "of no tenant"
    assert said["stripe.subscription_doubled"][0] == "one subscription"


def test_a_look_that_stripe_broke_off_settles_nothing(cast: Cast, stripe_house: Emulator) -> None:
    findings_note("stripe", [Seen("stripe.invoice_missing", "in_kept", "paid", "nothing")])
    with override_settings(STRIPE_API_BASE="http://127.0.0.1:9"):
        reconcile.stripe_port.cache_clear()
        compare_task()
    reconcile.stripe_port.cache_clear()
    assert BillingFinding.objects.get(object="in_kept").resolved_at is None
    stripe_compare()
    assert BillingFinding.objects.get(object="in_kept").resolved_by == "look"


def test_a_finding_is_settled_with_a_name_and_a_reason_and_comes_again_where_it_is_still_so() -> None:
    seen = [Seen("command.doubt", "cmd_settled", "carried out", "plan_change doubt")]
    findings_note("command", seen)
    row = BillingFinding.objects.get(object="cmd_settled", resolved_at=None)
    with pytest.raises(BadRequest):
        finding_resolve(finding_id=row.pk, by="ops@example.com", reason=" ")
    finding_resolve(finding_id=row.pk, by="ops@example.com", reason="looked at Stripe, it is there")
    row.refresh_from_db()
    assert (row.resolved_by, row.resolution) == ("ops@example.com", "looked at Stripe, it is there")
    findings_note("command", seen)
    assert BillingFinding.objects.filter(object="cmd_settled").count() == 2


def test_commands_that_need_a_person_are_findings(cast: Cast, stripe_house: Emulator) -> None:
    with tenant_scope(cast.owner.tenant.id):
        command = customer_write()
        assert command is not None
        StripeCommand.objects.update(created_at=now() - dt.timedelta(hours=2))
    commands_look()
    assert BillingFinding.objects.get(object=command.public_id).kind == "command.waiting"
    with tenant_scope(cast.owner.tenant.id):
        StripeCommand.objects.update(state="done")
    commands_look()
    assert BillingFinding.objects.get(object=command.public_id).resolved_at is not None


def test_the_nightly_look_at_the_books_keeps_what_it_finds(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one() -> Any:
        """Everything is right."""
        yield "one nano is off"

    tenant_id = cast.owner.tenant.id
    monkeypatch.setattr("billing.selectors.invariants.CHECKS", (off_by_one,))
    books_look()
    row = BillingFinding.objects.get(kind="books.off_by_one", organisation=tenant_id, resolved_at=None)
    assert (row.expected, row.found) == ("Everything is right.", "one nano is off")


def test_the_webhook_endpoint_is_made_with_the_version_that_we_speak(stripe_house: Emulator) -> None:
    with override_settings(BASE_URL="http://127.0.0.1:8000"):
        url = reconcile.webhook_url()
        stripe_house.v1.webhook_endpoints.create(
            {"url": url, "enabled_events": ["invoice.paid"], "api_version": "2025-03-31.basil"}
        )
        assert found_of(*[e.id for e in stripe_house.v1.webhook_endpoints.list().data]).keys() == {
            "stripe.endpoint_version"
        }
        made, secret = endpoint_ensure()
        assert secret.startswith("whsec_") and endpoint_ensure() == (made, "")
        mine = [e for e in stripe_house.v1.webhook_endpoints.list({"limit": 100}).data if e.url == url]
        assert [(e.id, e.api_version) for e in mine] == [(made, checks.client_version())]
        out = StringIO()
        call_command("stripe_sync", "--webhook", "--compare", stdout=out)
        assert f"{url}: {made}, version 2026-" in out.getvalue() and "differences to Stripe" in out.getvalue()
        stripe_house.v1.webhook_endpoints.delete(made)


def test_nothing_starts_with_a_client_of_another_version() -> None:
    assert checks.stripe_version(None) == []
    with override_settings(STRIPE_API_VERSION="2020-08-27"):
        assert [error.id for error in checks.stripe_version(None)] == ["billing.E001"]


def test_an_event_of_another_version_is_found(stripe_house: Emulator) -> None:
    event = {"id": "evt_old_version", "type": "ping", "created": 1, "api_version": "2020-08-27", "data": {}}
    event_receive(event)
    assert found_of("events of 2020-08-27") == {"stripe.event_version": ("2026-10-28.endive", "2020-08-27")}
    StripeEvent.objects.filter(event_id="evt_old_version").delete()


def test_events_are_replayed_by_span_by_type_and_all_that_failed() -> None:
    StripeEvent.objects.all().delete()
    for number, (kind, state) in enumerate(
        [("invoice.paid", "done"), ("invoice.updated", "failed"), ("customer.updated", "parked")]
    ):
        StripeEvent.objects.create(
            event_id=f"evt_{number}",
            type=kind,
            state=state,
            attempts=12,
            next_try_at=None,
            payload={},
            created_at=now(),
        )
    waiting = StripeEvent.objects.filter(next_try_at__isnull=False)
    assert events_replay(failed=True) == 2
    assert {row.attempts for row in waiting} == {0} and waiting.count() == 2
    assert events_replay(kind="invoice.") == 2
    assert events_replay(kind="invoice.paid") == 1
    moment = now()
    StripeEvent.objects.filter(type="invoice.paid").update(received_at=moment - dt.timedelta(days=2))
    assert events_replay(until=moment - dt.timedelta(days=1)) == 1
    assert events_replay(since=moment - dt.timedelta(days=1)) == 2
    StripeEvent.objects.all().delete()
