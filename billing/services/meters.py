"""Usage to a meter at Stripe: what closed hours owe is told in whole cents, by readings that are never told twice.

A reading is the difference between what is owed and what was taken (`ledger.hours`), written under the tenant's locks
together with the command that sends it. What cannot arrive any more is lost: its cents are owed again and go with the
next hour, or, where nobody is metered, on a line of an invoice.
"""

import datetime as dt
from collections.abc import Iterable
from uuid import UUID

from django.conf import settings
from django.db.models import Max, Sum

from billing.errors import PaymentsAway
from billing.models import BillSink, Invoice, InvoiceLinePush, MeterReading, PeriodClose, StripeCommand, Subscription
from billing.periods import month_of
from billing.selectors.meters import (
    METERED,
    REST,
    hour_closed,
    meter_account,
    metered_item,
    metered_lines,
    metered_now,
    metering_subscription,
    months_open,
)
from billing.services.commands import command_write, commands_send
from billing.services.locks import ledger_lock, money_lock
from billing.services.sweeps import for_each
from kit.clock import now
from kit.ids import new_id
from kit.money import CENT
from tenants.scope import ops_scope, tenant_scope

State = MeterReading.State
GONE = dt.timedelta(days=1)
"""How long after a subscription's end its last invoice may still bill what its meter counted."""
ENDED = ("canceled", "incomplete_expired")


class MeterEvents:
    """The sink that tells a meter hour by hour. Whatever no meter can take is one line of an invoice."""

    def hours_take(self, *, tenant_id: UUID, moment: dt.datetime | None = None) -> int:
        """Write and send a reading of what closed hours owe; the cents it has."""
        with tenant_scope(tenant_id):
            money_lock(tenant_id)
            ledger_lock(tenant_id)
            cents = _reading_write(hour_closed(moment or now()))
        _send(tenant_id)
        return cents

    def bill_lines(self, close: PeriodClose) -> Iterable[tuple[str, str, int]]:
        """What puts the account right where the meter cannot: too much was taken, or nobody is metered any more.

        As long as somebody is, once for a month: what the running one owes falls and rises with credit and with prices
        by quantity, and a line for each fall would have the next readings take the same money back."""
        ledger_lock(close.tenant_id)
        before = InvoiceLinePush.objects.filter(period=close.period, line_key__startswith=METERED).count()
        metered = metered_now()
        if metered and before:
            return []
        cents = meter_account(hour_closed(now())).line_cents(metered=metered)
        if not cents:
            return []
        key = f"{METERED}:{before + 1}" if before else METERED
        said = "Usage that was not metered" if cents > 0 else "Usage that was metered and is not owed"
        return [(key, said, cents * CENT)]


METER_EVENTS = MeterEvents()


def _send(tenant_id: UUID) -> None:
    """Send now what was written; where that fails the outbox goes on."""
    try:
        commands_send(tenant_id)
    except PaymentsAway:
        return


def _reading_write(until: dt.datetime) -> int:
    subscription = metering_subscription()
    if subscription is None:
        return 0
    if metered_item(subscription) is None:
        _item_write(subscription)
        return 0
    if not metered_now():
        return 0
    months = months_open(until)
    cents = meter_account(until, also=months).reading_cents
    if not cents:
        return 0
    sinks = [
        BillSink(tenant_id=subscription.tenant_id, period=month, sink=BillSink.Sink.METER_EVENTS) for month in months
    ]
    BillSink.objects.bulk_create(sinks, ignore_conflicts=True)
    told = MeterReading.objects.filter(hour=until).aggregate(n=Max("revision"))["n"]
    revision, pk = (0 if told is None else told + 1), new_id()
    MeterReading.objects.create(
        pk=pk,
        period=month_of(until - dt.timedelta(seconds=1)),
        hour=until,
        revision=revision,
        units=cents,
        identifier=f"{subscription.tenant_id}:usage:{until:%Y%m%d%H}:{revision}",
    )
    command_write("meter_event", {"reading": str(pk)}, once=str(pk))
    return cents


def _item_write(subscription: Subscription) -> None:
    """Ask for the meter's price on a subscription; again where it was taken off since."""
    asked = StripeCommand.objects.filter(operation="meter_item", params__subscription=subscription.stripe_id)
    newest = asked.order_by("-created_at").first()
    if newest is not None and (newest.done_at is None or newest.done_at > subscription.fetched_at):
        return
    if newest is not None and newest.state == StripeCommand.State.REFUSED and newest.created_at > now() - REST:
        return
    once = f"{subscription.stripe_id}/{asked.count()}"
    command_write("meter_item", {"subscription": subscription.stripe_id}, once=once)


def hours_take_all() -> int:
    """Tell the meter what closed hours owe, of every tenant that is to be metered; the cents."""
    if settings.USAGE_SINK != BillSink.Sink.METER_EVENTS:
        return 0
    with ops_scope("subscriptions that a meter goes with"):
        running = Subscription.ops.filter(status__in=("trialing", "active", "past_due"))
        tenants = sorted(set(running.values_list("tenant_id", flat=True)))
    return for_each("meter_hours", tenants, lambda tenant_id: METER_EVENTS.hours_take(tenant_id=tenant_id))


def bills_metered() -> list[PeriodClose]:
    """Of each tenant that a meter takes part of, the last closed bill: what has to be put right goes with it."""
    with ops_scope("closed months that a meter takes part of"):
        metered = set(BillSink.ops.filter(sink=BillSink.Sink.METER_EVENTS).values_list("tenant_id", "period"))
        last: dict[UUID, dt.date] = {}
        for tenant_id, period in PeriodClose.ops.order_by("period").values_list("tenant_id", "period"):
            if (tenant_id, period) in metered:
                last[tenant_id] = period
        rows = PeriodClose.ops.filter(tenant_id__in=last).order_by("closed_at", "pk")
        return [row for row in rows if last[row.tenant_id] == row.period]


def readings_settle(*, tenant_id: UUID) -> int:
    """Find out what became of a tenant's readings: on an invoice, or lost; how many."""
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        unsettled = MeterReading.objects.filter(state__in=(State.WAITING, State.SENT))
        # The later ones may have to be told from what an invoice has beside the earlier ones.
        return sum(_settled(reading) for reading in unsettled.order_by("sent_at", "pk"))


def readings_settle_all() -> int:
    """The same of every tenant."""
    with ops_scope("readings that are not settled"):
        unsettled = MeterReading.ops.filter(state__in=(State.WAITING, State.SENT))
        tenants = sorted(set(unsettled.values_list("tenant_id", flat=True)))
    return for_each("readings_settle", tenants, lambda tenant_id: readings_settle(tenant_id=tenant_id))


def _settled(reading: MeterReading) -> bool:
    if reading.state == State.WAITING:
        return _never_sent(reading)
    invoice = _invoice_of(reading)
    if invoice is not None:
        if _late(reading, invoice):
            return reading_lose(reading, "It arrived after the invoice of its period was final.")
        reading.state, reading.invoice_id, reading.settled_at = State.BILLED, invoice.stripe_id, now()
        reading.save(update_fields=["state", "invoice_id", "settled_at"])
        return True
    subscription = Subscription.objects.filter(stripe_id=reading.subscription_id).first()
    if subscription is None:
        return False
    ended = subscription.ended_at or subscription.canceled_at or now()
    if subscription.status in ENDED and ended < now() - GONE:
        return reading_lose(reading, "Its subscription ended without billing it.")
    if subscription.status in ENDED or _drafted(reading):
        return False
    if metered_item(subscription) is None and reading.sent_at is not None and reading.sent_at < now() - GONE:
        return reading_lose(reading, "The meter was taken off its subscription.")
    if _period_over(reading, subscription):
        return reading_lose(reading, "Its period ended without an invoice that bills it.")
    return False


def _late(reading: MeterReading, invoice: Invoice) -> bool:
    """Whether a reading came after an invoice was final. Where it was first sent before and answered after, it may have
    arrived at any moment in between: the invoice itself says whether it has it."""
    final = (invoice.raw.get("status_transitions") or {}).get("finalized_at") or 0
    if reading.sent_at is None or reading.sent_at.timestamp() <= final:
        return False
    command = StripeCommand.objects.filter(operation="meter_event", once=str(reading.pk)).first()
    first = command.first_sent_at if command is not None else None
    if first is None or int(first.timestamp()) > final:
        return True
    billed = MeterReading.objects.filter(state=State.BILLED, invoice_id=invoice.stripe_id)
    known = int(billed.aggregate(n=Sum("units"))["n"] or 0)
    return sum(line["amount"] for line in metered_lines(invoice.raw)) < known + reading.units


def _period_over(reading: MeterReading, subscription: Subscription) -> bool:
    """Whether the period of a reading's moment ended long ago, and the subscription was fetched since: it rested, or
    began anew."""
    starts, ends = subscription.period_start, subscription.period_end
    over = starts if starts is not None and reading.at is not None and starts > reading.at else ends
    return over is not None and over < now() - GONE and subscription.fetched_at > over + GONE


def _drafted(reading: MeterReading) -> bool:
    """Whether an invoice that covers the moment of a reading still waits to be final."""
    drafts = Invoice.objects.filter(subscription_id=reading.subscription_id, status="draft")
    return any(_covers(invoice, reading) for invoice in drafts)


def _never_sent(reading: MeterReading) -> bool:
    command = StripeCommand.objects.filter(operation="meter_event", once=str(reading.pk)).first()
    if command is None or command.state not in (StripeCommand.State.REFUSED, StripeCommand.State.DROPPED):
        return False
    return reading_lose(reading, command.error, refused=command.state == StripeCommand.State.REFUSED)


def reading_lose(reading: MeterReading, why: str, *, refused: bool = False) -> bool:
    """Take a reading for lost: what it has is owed again."""
    reading.state, reading.error, reading.refused, reading.settled_at = State.LOST, why[:300], refused, now()
    reading.save(update_fields=["state", "error", "refused", "settled_at"])
    return True


def _invoice_of(reading: MeterReading) -> Invoice | None:
    """The final invoice whose metered line covers the moment of a reading."""
    issued = Invoice.objects.filter(subscription_id=reading.subscription_id, issued_at__gte=reading.at)
    for invoice in issued.exclude(status="draft").order_by("issued_at"):
        if _covers(invoice, reading):
            found: Invoice = invoice
            return found
    return None


def _covers(invoice: Invoice, reading: MeterReading) -> bool:
    at = int(reading.at.timestamp()) if reading.at is not None else 0
    return any(line["period"]["start"] <= at < line["period"]["end"] for line in metered_lines(invoice.raw))
