"""What Stripe tells of a meter afterwards, by thin events: which events it found wrong. Nobody is charged for those, so
they are owed again, and staff are told.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from billing.models import BillSink, MeterReading, StripeEvent
from billing.selectors.meters import readings_differ
from billing.services.findings import Seen, findings_note
from billing.services.locks import money_lock
from billing.services.meters import State, reading_lose
from billing.stripe_port import stripe_port
from kit.clock import now
from tenants.scope import ops_scope, tenant_scope

ABOUT_METERS = "v1.billing.meter."
REPORTS = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
"""The thin events that a destination is made for (`stripe_sync --webhook`)."""
BILLED_BY = dt.timedelta(days=40)
"""How long after its moment a reading may wait for its invoice: a month's period, and days to become final."""
SHOWN = dt.timedelta(days=7)
"""How long a wrong event stays a finding."""


def thin_event_handle(event: StripeEvent) -> bool:
    """Work on a thin event of the inbox; whether anything here depends on it. It says only that something happened:
    what, is fetched, and kept with it."""
    if not event.type.startswith(ABOUT_METERS):
        return False
    found = stripe_port().thin_event_fetch(event.event_id)
    event.payload = {**event.payload, "data": found.get("data") or {}}
    StripeEvent.objects.filter(pk=event.pk).update(payload=event.payload)
    for identifier, why in wrong_ones(event.payload):
        _refuse(identifier, why)
    meters_look()
    return True


def wrong_ones(payload: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The events that a report names, and what is wrong with each. It names some of them, not always all."""
    reason = (payload.get("data") or {}).get("reason") or {}
    for kind in reason.get("error_types") or []:
        for sample in kind.get("sample_errors") or []:
            identifier = (sample.get("request") or {}).get("identifier")
            if identifier:
                yield str(identifier), f"{kind.get('code')}: {sample.get('error_message') or ''}"


def _refuse(identifier: str, why: str) -> None:
    with ops_scope("whose reading a meter refused"):
        tenant_id = MeterReading.ops.filter(identifier=identifier).values_list("tenant_id", flat=True).first()
    if tenant_id is None:
        return
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        reading = MeterReading.objects.get(identifier=identifier)
        if reading.state in (State.WAITING, State.SENT):
            reading_lose(reading, why, refused=True)


def meters_look() -> int:
    """Readings that Stripe refused or never billed, reports of events that are none of ours, and invoices that bill
    something else than what was read, kept as findings; how many are open."""
    return findings_note("meter", [*_refused(), *_unbilled(), *_reports(), *_invoices()])


def _refused() -> Iterator[Seen]:
    with ops_scope("readings that a meter refused"):
        rows = list(MeterReading.ops.filter(refused=True, settled_at__gt=now() - SHOWN))
    for row in rows:
        told = f"refused, {row.units} cents go another way: {row.error}"
        yield Seen("meter.refused", row.identifier, f"{row.units} cents counted", told, row.tenant_id)


def _unbilled() -> Iterator[Seen]:
    """What Stripe took and has on no final invoice: an invoice may stay a draft for good, while a payment is late or
    because somebody stopped it there."""
    with ops_scope("readings that no invoice has"):
        rows = list(MeterReading.ops.filter(state=State.SENT, at__lt=now() - BILLED_BY))
    for row in rows:
        told = "on no final invoice; look for a draft at Stripe, and finalise or void it"
        yield Seen("meter.unbilled", row.identifier, f"{row.units} cents billed", told, row.tenant_id)


def _reports() -> Iterator[Seen]:
    recent = StripeEvent.objects.filter(type__startswith=ABOUT_METERS, received_at__gt=now() - SHOWN)
    for event in recent.filter(payload__has_key="data"):  # those that were fetched
        data = event.payload.get("data") or {}
        count = (data.get("reason") or {}).get("error_count") or 0
        named = {identifier for identifier, _ in wrong_ones(event.payload)}
        with ops_scope("readings that a report names"):
            ours = MeterReading.ops.filter(identifier__in=named).count()
        if count > ours or not count:
            told = f"{count} wrong events, {ours} of them ours: {data.get('developer_message_summary') or event.type}"
            yield Seen("meter.report", event.event_id, "no wrong events", told)


def _invoices() -> Iterator[Seen]:
    with ops_scope("tenants that are metered"):
        metered = BillSink.ops.filter(sink=BillSink.Sink.METER_EVENTS)
        tenants = sorted(set(metered.values_list("tenant_id", flat=True)))
    for tenant_id in tenants:
        with tenant_scope(tenant_id):
            for invoice, ours, theirs in readings_differ():
                told = f"{theirs} cents metered"
                yield Seen("meter.invoice_differs", invoice.stripe_id, f"{ours} cents read", told, tenant_id)
