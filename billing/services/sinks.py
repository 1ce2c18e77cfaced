"""How usage reaches an invoice of Stripe's: one port, two ways. `USAGE_SINK` chooses the way of what is new; each
month's bill keeps the way that first took something of it (`BillSink`), so nothing goes both.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

from billing.models import BillSink, InvoiceLinePush, PeriodClose
from billing.selectors.meters import METERED, metered_now
from billing.services.meters import METER_EVENTS


@dataclasses.dataclass(frozen=True, slots=True)
class SinkLine:
    """One line for an invoice; `key` names it within its month."""

    key: str
    description: str
    amount_nano: int


class UsageSink(Protocol):
    """A way for what is owed to get onto an invoice. Both calls may be repeated at any time."""

    def hours_take(self, *, tenant_id: UUID, moment: dt.datetime | None = None) -> int:
        """Hand over what closed hours owe; the cents. Not inside a scope."""

    def bill_lines(self, close: PeriodClose) -> Iterable[tuple[str, str, int]]:
        """The lines (key, description, nano) that an invoice is to have of a closed month. In the tenant's scope,
        under its lock."""


class InvoiceItems:
    """Nothing by the hour; every line of a closed month's bill."""

    def hours_take(self, *, tenant_id: UUID, moment: dt.datetime | None = None) -> int:
        """Nothing: the bill has it."""
        return 0

    def bill_lines(self, close: PeriodClose) -> Iterable[tuple[str, str, int]]:
        """The bill as it was written."""
        return [(line["key"], line["description"], line["amount_nano"]) for line in close.lines]


SINKS: dict[str, UsageSink] = {
    BillSink.Sink.INVOICE_ITEMS: InvoiceItems(),
    BillSink.Sink.METER_EVENTS: METER_EVENTS,
}


def bill_lines(close: PeriodClose) -> Iterable[SinkLine]:
    """The lines that an invoice is to have of a closed month, by the way its bill goes; read when they are asked for,
    under the caller's lock."""
    for key, description, nano in SINKS[sink_of(close.period)].bill_lines(close):
        yield SinkLine(key, description, nano)


def sink_of(period: dt.date) -> str:
    """The way of a month's bill, decided now if it never was. In the tenant's scope, under its lock."""
    found = BillSink.objects.filter(period=period).first()
    if found is None:
        begun = InvoiceLinePush.objects.filter(period=period).exclude(line_key__startswith=METERED)
        by_meter = metered_now() and not begun.exists()
        way = BillSink.Sink.METER_EVENTS if by_meter else BillSink.Sink.INVOICE_ITEMS
        found = BillSink.objects.create(period=period, sink=way)
    return str(found.sink)
