"""Stripe in the hands of staff: commands that need somebody, findings, and the replay of many events."""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.test import override_settings

from billing.models import BillingFinding, DunningHold, Invoice, Refund, StripeCommand, StripeEvent
from billing.selectors.dunning import step_now
from billing.services.findings import Seen, findings_note
from billing.stripe_port import stripe_port
from kit.clock import now
from kit.ids import new_id
from kit.money import price
from ops.models import StaffAction
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tests.billing.emulated import KEY, Emulator
from tests.billing.test_ladder import owe
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person

WHY = "looked at Stripe, ticket 4711"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A local Stripe for this module."""
    running = Emulator(tmp_path_factory.mktemp("staff"))
    yield running
    running.stop()


def doubtful(person: Person) -> StripeCommand:
    """A command of which nobody knows what became."""
    with tenant_scope(person.tenant.id):
        row: StripeCommand = StripeCommand.objects.create(
            operation="plan_end", params={}, key=f"test-{new_id()}", state="doubt", error="not reached in time"
        )
    return row


def test_a_doubtful_command_is_sent_again_or_given_up_with_a_reason(ada: Person, cast: Cast) -> None:
    path = "/staff/billing/stripecommand"
    row = doubtful(cast.owner)
    page = ada.browser.get(f"{path}/{row.pk}/change/").content.decode()
    assert "Send again" in page and "Give up" in page
    assert ada.browser.post(f"{path}/{row.pk}/again/", {"reason": "short"}).status_code == 422
    assert ada.browser.post(f"{path}/{row.pk}/again/", {"reason": WHY}).status_code == 302
    with tenant_scope(cast.owner.tenant.id):
        row.refresh_from_db()
        assert (row.state, row.round, row.key_now) == ("waiting", 2, f"{row.key}/2")
    assert ada.browser.post(f"{path}/{row.pk}/give-up/", {"reason": WHY}).status_code == 422, "it is on its way"
    other = doubtful(cast.owner)
    assert ada.browser.post(f"{path}/{other.pk}/give-up/", {"reason": WHY}).status_code == 302
    with tenant_scope(cast.owner.tenant.id):
        other.refresh_from_db()
        assert other.state == "dropped"
        StripeCommand.objects.all().delete()
    assert StaffAction.objects.filter(action="stripe_command.drop", target_id=other.public_id).count() == 1


def test_a_finding_is_settled_on_its_page(ada: Person) -> None:
    findings_note("stripe", [Seen("stripe.invoice_differs", "in_desk", "paid", "open")])
    row = BillingFinding.objects.get(object="in_desk", resolved_at=None)
    listed = ada.browser.get("/staff/billing/billingfinding/?open=yes").content.decode()
    assert "in_desk" in listed and "stripe.invoice_differs" in listed
    assert ada.browser.post(f"/staff/billing/billingfinding/{row.pk}/settle/", {"reason": WHY}).status_code == 302
    row.refresh_from_db()
    assert (row.resolved_by, row.resolution) == (ada.user.email, WHY)
    assert "in_desk" not in ada.browser.get("/staff/billing/billingfinding/?open=yes").content.decode()
    assert StaffAction.objects.filter(action="finding.resolve").exists()


def test_events_of_a_span_or_a_type_or_all_that_failed_are_replayed(ada: Person) -> None:
    StripeEvent.objects.all().delete()
    for number, state in enumerate(("failed", "done", "parked")):
        StripeEvent.objects.create(
            event_id=f"evt_many_{number}", type="invoice.paid", state=state, next_try_at=None, payload={},
            created_at=now(),
        )  # fmt: skip
    path = "/staff/webhooks/replay/"
    assert "Only what failed" in ada.browser.get(path).content.decode()
    assert ada.browser.post(path, {"reason": WHY}).status_code == 422, "not all of everything"
    assert ada.browser.post(path, {"reason": WHY, "kind": "DROP TABLE"}).status_code == 422
    span = {"since": f"{now():%Y-%m-%dT%H:%M}", "until": f"{now() - dt.timedelta(days=1):%Y-%m-%dT%H:%M}"}
    assert ada.browser.post(path, {"reason": WHY, **span}).status_code == 422, "it ends before it begins"
    answer = ada.browser.post(path, {"reason": WHY, "failed": "on"}, follow=True)
    assert "2 events are worked on again" in answer.content.decode()
    assert StripeEvent.objects.filter(state="received", next_try_at__lte=now()).count() == 2
    line = StaffAction.objects.filter(action="webhook.replay_many").latest("at")
    assert (line.detail["count"], line.reason) == (2, WHY)
    StripeEvent.objects.all().delete()


def test_staff_hold_dunning_and_take_it_back(ada: Person, cast: Cast) -> None:
    owe(cast.owner, 31)
    form = {"most": "warned", "until": "", "reason": WHY}
    assert ada.browser.post(f"/staff/tenants/tenant/{cast.owner.tenant.pk}/hold/", form).status_code == 302
    with tenant_scope(cast.owner.tenant.id):
        assert (step_now(), Tenant.objects.get().status) == ("warned", "active")
        hold = DunningHold.objects.get()
    assert ada.browser.post(f"/staff/billing/dunninghold/{hold.pk}/revoke/", {"reason": WHY}).status_code == 302
    with tenant_scope(cast.owner.tenant.id):
        assert (step_now(), Tenant.objects.get().status) == ("suspended", "suspended")
    assert StaffAction.objects.filter(action="dunning.hold", organisation=cast.owner.tenant.pk).exists()


def test_staff_refund_a_part_of_an_invoice_and_no_more_than_was_paid(
    ada: Person, cast: Cast, emulator: Emulator
) -> None:
    with override_settings(STRIPE_SECRET_KEY=KEY, STRIPE_API_BASE=emulator.url):
        stripe_port.cache_clear()
        buy(cast.owner, emulator)
        with tenant_scope(cast.owner.tenant.id):
            invoice = Invoice.objects.get()
        path = f"/staff/billing/invoice/{invoice.pk}/credit/"
        for wrong in ("29.01", "-1", "0", "1e9", "0.001", "much"):
            refused = ada.browser.post(path, {"amount": wrong, "to": "card", "reason": WHY})
            assert refused.status_code == 422, wrong
        most = f"At most {price(invoice.total, invoice.currency)}"
        refused = ada.browser.post(path, {"amount": "29.01", "to": "card", "reason": WHY})
        assert most in refused.content.decode()
        assert ada.browser.post(path, {"amount": "9.50", "to": "card", "reason": WHY}).status_code == 302
        with tenant_scope(cast.owner.tenant.id):
            assert Refund.objects.get().amount == 950
            seen = AuditEvent.objects.get(action="invoice.credited")
        assert (seen.reason, seen.after) == (WHY, {"cents": 950, "to": "card"})
    stripe_port.cache_clear()
