"""What Stripe tells of a meter afterwards: thin events at the door, findings, comparisons."""

from __future__ import annotations

import datetime as dt
import io
import json
import time

import pytest
from django.core.management import call_command
from django.test import Client

from billing.errors import StripeRefused
from billing.models import BillingCustomer, BillingFinding, MeterReading, StripeEvent, Subscription
from billing.selectors.meters import METER
from billing.services import webhooks
from billing.services.meter_reports import meters_look
from billing.services.reconcile import stripe_compare
from billing.stripe_emulator.deliveries import signature
from billing.stripe_port import StripePort, stripe_port
from kit.clock import now
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import THIN, Emulator
from tests.billing.metered import HOUR, close, counted, lines_cents, renewed, states, subscribed, take
from tests.billing.test_ledger import OCTOBER, use
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast


def thin_event(emulator: Emulator) -> bytes:
    """The newest report of the meter, as it comes to a door."""
    meter = stripe_port().meter_named(METER)
    found = emulator.client.v2.core.events.list({"object_id": meter}).data[0].to_dict(for_json=True)
    return json.dumps({name: value for name, value in found.items() if name != "data"}).encode()


def knock(body: bytes, secret: str = THIN) -> int:
    header = signature(secret, body, int(time.time()))
    return Client().post(
        "/webhooks/stripe", data=body, content_type="application/json", headers={"Stripe-Signature": header}
    ).status_code  # fmt: skip


def test_a_reading_that_stripe_finds_wrong_afterwards_is_a_finding_and_goes_on_the_invoice(
    cast: Cast, metered: Emulator
) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    subscribed(tenant_id)
    use(tenant_id, 1, 15 * NANO)
    metered.control("/meter_events/fail", {"count": 1})
    cents = take(tenant_id)
    assert states(tenant_id) == ["sent"] and counted(metered, tenant_id) == 0
    body = thin_event(metered)
    assert [knock(body, "whsec_other"), knock(body), knock(body)] == [400, 200, 200]
    row = StripeEvent.objects.get(event_id=json.loads(body)["id"])
    assert (row.type, row.object_kind) == ("v1.billing.meter.error_report_triggered", "billing.meter")
    assert webhooks.event_handle(row.pk) == "done"
    assert states(tenant_id) == ["lost"]
    finding = BillingFinding.objects.get(kind="meter.refused", organisation=tenant_id)
    assert f"{cents} cents" in finding.expected and "meter_event_value_not_found" in finding.found
    assert not BillingFinding.objects.filter(kind="meter.report", object=row.event_id).exists()
    assert take(tenant_id) == 0  # nothing more goes there for a day
    closed = close(tenant_id)
    assert lines_cents(tenant_id) == closed.net_nano // CENT == cents


def test_thin_events_of_other_kinds_are_kept_and_bodies_that_are_none_refused(metered: Emulator) -> None:
    body = {"id": f"evt_test_{time.monotonic_ns()}", "object": "v2.core.event", "type": "v2.core.account.updated"}
    body |= {"created": "2026-11-30T10:00:00.000Z", "livemode": False, "context": None, "related_object": None}
    assert knock(json.dumps(body).encode()) == 200
    row = StripeEvent.objects.get(event_id=body["id"])
    assert webhooks.event_handle(row.pk) == "ignored" and row.created_at.isoformat() == "2026-11-30T10:00:00+00:00"
    for wrong in ({"created": "x"}, {"created": 5}, {"type": None}, {"related_object": 5}, {"related_object": {}}):
        assert knock(json.dumps(body | {"id": "evt_odd"} | wrong).encode()) == 400
    nobody = body | {"id": f"{body['id']}_2", "type": "v1.billing.meter.no_meter_found"}
    assert knock(json.dumps(nobody).encode()) == 200
    assert webhooks.event_handle(StripeEvent.objects.get(event_id=nobody["id"]).pk) == "failed"  # Stripe has none


def test_a_thin_event_that_no_door_heard_is_found_by_the_sweep(cast: Cast, timed: Emulator) -> None:
    event = {"event_name": "unheard", "payload": {"stripe_customer_id": "cus_x", "value": "1"}}
    timed.v1.billing.meter_events.create(event)
    assert webhooks.stripe_sweep(back=HOUR)["events"] == 1
    assert webhooks.stripe_sweep(back=HOUR)["events"] == 0
    kinds = StripeEvent.objects.order_by("-received_at").values_list("type", flat=True)
    assert kinds[0] == "v1.billing.meter.no_meter_found"


def test_a_key_that_may_not_read_thin_events_does_not_stop_the_sweep(
    cast: Cast, timed: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    buy(cast.owner, timed)

    def refused(*args: object, **values: object) -> None:
        raise StripeRefused("The provided key does not have the required permissions for this endpoint.")

    monkeypatch.setattr(StripePort, "thin_events_since", refused)
    with tenant_scope(cast.owner.tenant.id):
        before = Subscription.objects.get().fetched_at
    webhooks.stripe_sweep(back=HOUR)
    with tenant_scope(cast.owner.tenant.id):
        assert Subscription.objects.get().fetched_at > before
    assert "could not look for reports of the meter" in caplog.text


def test_the_meter_and_the_destination_of_its_reports_are_made_once(timed: Emulator) -> None:
    said = []
    for _ in range(2):
        out = io.StringIO()
        call_command("stripe_sync", "--webhook", stdout=out)
        said.append(out.getvalue())
    assert "Set STRIPE_THIN_SECRET=whsec_" in said[0] and "STRIPE_THIN_SECRET" not in said[1]
    assert [meter.event_name for meter in timed.v1.billing.meters.list().data] == [METER]
    assert len(timed.v1.prices.list({"lookup_keys": [METER]}).data) == 1
    assert len(timed.client.v2.core.event_destinations.list().data) == 1


def test_the_daily_comparison_reads_the_meter(cast: Cast, timed: Emulator) -> None:
    tenant_id, noon = cast.owner.tenant.id, (now() - dt.timedelta(days=1)).replace(hour=12, minute=0)
    buy(cast.owner, timed)
    subscribed(tenant_id)
    with tenant_scope(tenant_id):
        customer = BillingCustomer.objects.get().stripe_id
        more = {"at": noon, "sent_at": noon, "state": "sent", "period": OCTOBER}
        for number, units in enumerate((5, 6)):
            MeterReading.objects.create(
                hour=noon, revision=number, units=units, identifier=f"{customer} {number}", **more
            )
    stamp = int(noon.timestamp())
    stripe_port().meter_event_send(
        event_name=METER, customer_id=customer, units=5, identifier=customer, at=stamp, key=customer
    )
    stripe_compare()
    found = BillingFinding.objects.get(kind="stripe.meter_differs", organisation=tenant_id)
    assert (found.expected, found.found) == ("11 cents", "5 cents")
    with tenant_scope(tenant_id):
        BillingCustomer.objects.update(stripe_id="cus_gone")
    stripe_compare()
    gone = BillingFinding.objects.get(kind="stripe.meter_differs", object__startswith="cus_gone")
    assert (gone.expected, gone.found) == ("11 cents", "0 cents"), "and everybody else is still compared"


def test_a_report_of_somebody_elses_events_is_a_finding(metered: Emulator) -> None:
    event = {"event_name": "nobodys", "payload": {"stripe_customer_id": "cus_x", "value": "1"}}
    metered.v1.billing.meter_events.create(event)
    page = metered.page(f"{metered.url}/objects/v2.core.event")[1]
    found = page.split("/objects/v2.core.event/")[1].split('"')[0]
    thin = {"id": found, "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found"}
    assert knock(json.dumps(thin | {"created": "2026-11-30T10:00:00Z", "livemode": False}).encode()) == 200
    assert webhooks.event_handle(StripeEvent.objects.get(event_id=found).pk) == "done"
    assert "1 wrong events, 0 of them ours" in BillingFinding.objects.get(kind="meter.report", object=found).found


def test_a_reading_that_no_invoice_bills_is_a_finding_until_it_is_settled(cast: Cast, metered: Emulator) -> None:
    tenant_id, long_ago = cast.owner.tenant.id, now() - dt.timedelta(days=41)
    with tenant_scope(tenant_id):
        name = f"{tenant_id}:usage:41:0"
        reading = MeterReading.objects.create(
            hour=long_ago, units=77, identifier=name, at=long_ago, sent_at=long_ago, state="sent", period=OCTOBER
        )
    meters_look()
    found = BillingFinding.objects.get(kind="meter.unbilled", organisation=tenant_id)
    assert (found.object, found.expected) == (name, "77 cents billed") and "on no final invoice" in found.found
    with tenant_scope(tenant_id):
        reading.state = "billed"
        reading.save()
    meters_look()
    found.refresh_from_db()
    assert found.resolved_at is not None


def test_an_invoice_that_bills_something_else_is_a_finding(cast: Cast, timed: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, timed)
    subscribed(tenant_id)
    with tenant_scope(tenant_id):
        customer = BillingCustomer.objects.get().stripe_id
    use(tenant_id, 1, 15 * NANO)
    take(tenant_id)
    stray = {"event_name": METER, "customer_id": customer, "units": 9, "identifier": f"stray {customer}"}
    stripe_port().meter_event_send(**stray, at=int(now().timestamp()), key=f"stray {customer}")  # type: ignore[arg-type]
    invoice = renewed(timed, tenant_id)
    meters_look()
    assert BillingFinding.objects.get(kind="meter.invoice_differs", object=invoice.stripe_id).resolved_at is None
