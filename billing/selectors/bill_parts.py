"""What a closed month's bill is made of: its lines in exact nano and in cents, and the rated lines in each."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from billing.ledger.lines import BillLine
from billing.models import BillLineShare, Invoice, InvoiceLinePush, PeriodClose, RatedLine
from billing.periods import bounds, month_of
from billing.prices.rating import base_of
from billing.selectors.bookings import pushed_lines
from kit.errors import NotFound


@dataclasses.dataclass(frozen=True, slots=True)
class LineAsSent:
    """One line of a bill and what became of it on the way to an invoice."""

    line: BillLine
    opens: bool
    """Whether it is usage, which rated lines stand behind."""
    push: InvoiceLinePush | None
    invoice: Invoice | None

    @property
    def carried_in(self) -> int:
        """Nano that rounding had left over from the same line of earlier months."""
        return self.push.amount_nano - self.line.amount_nano if self.push is not None else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What a bill line has of one day of one model in one project."""

    rated: RatedLine
    quantity: int
    amount_nano: int


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a bill line, oldest day first. `recorded` is false for bills closed before parts were kept: these
    are then the days as they stand now, and late usage cannot be told apart."""

    rows: list[Part]
    recorded: bool

    @property
    def amount_nano(self) -> int:
        """Their sum."""
        return sum(part.amount_nano for part in self.rows)


def closes() -> QuerySet[Any]:
    """Every closed month of the scope's tenant, newest first."""
    return PeriodClose.objects.order_by("-period")


def usage_keys(periods: Iterable[dt.date]) -> set[tuple[dt.date, str]]:
    """Of the bills of some months, which lines are usage."""
    rows = PeriodClose.objects.filter(period__in=list(periods))
    return {(close.period, line.key) for close in rows for line in lines_of(close) if is_usage(line)}


def close_of(text: str) -> PeriodClose:
    """The closed month that an address names as 2026-10; NotFound for any other text and a month that is not closed."""
    try:
        period = dt.date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise NotFound.of(text) from error
    found: PeriodClose | None = PeriodClose.objects.filter(period=period).first()
    if found is None or len(text) != 7:
        raise NotFound.of(text)
    return found


def lines_of(close: PeriodClose) -> list[BillLine]:
    """The bill's lines as they were written."""
    return [BillLine(**line) for line in close.lines]


def line_of(close: PeriodClose, key: str) -> BillLine:
    """One of its lines of usage; NotFound for a key it does not have, and for what takes usage off."""
    for line in lines_of(close):
        if line.key == key and is_usage(line):
            return line
    raise NotFound.of(key)


def is_usage(line: BillLine) -> bool:
    """Whether rated lines stand behind a line of a bill; what counts by the month, such as the allowance, has none."""
    return line.unit != "month"


def lines_as_sent(close: PeriodClose) -> list[LineAsSent]:
    """The bill's lines with what was sent to Stripe of each, and the invoice it is on."""
    pushes = {push.line_key: push for push in InvoiceLinePush.objects.filter(period=close.period)}
    invoices = invoices_of_pushes(list(pushes.values()), close)
    found = []
    for line in lines_of(close):
        push = pushes.get(line.key)
        found.append(LineAsSent(line, is_usage(line), push, invoices.get(push.pk) if push is not None else None))
    return found


def invoices_of_pushes(pushes: list[InvoiceLinePush], close: PeriodClose) -> dict[uuid.UUID, Invoice]:
    """By what was sent, the invoice that asks for it; nothing for what waits for one, and for less than half a cent."""
    left = {push.pk for push in pushes if push.amount_cents}
    found: dict[uuid.UUID, Invoice] = {}
    if not left:
        return found
    # Invoices of before the month's end cannot have its lines; most often the first one after has them all.
    for invoice in (
        Invoice.objects.filter(issued_at__gte=bounds(close.period)[1]).order_by("issued_at", "pk").iterator()
    ):
        for push, _ in pushed_lines(invoice):
            if push.pk in left and invoice.status != "draft":
                found[push.pk] = invoice
                left.discard(push.pk)
        if not left:
            break
    return found


def bill_key(rated: RatedLine, period: dt.date) -> str:
    """The key of the bill line that a rated line is summed in, as `ledger.lines` makes it."""
    month = month_of(rated.day)
    key = f"{rated.kind}:{base_of(rated.model)}:{rated.price_version}"
    return key if month == period else f"{key}:{month:%Y-%m}"


def parts(close: PeriodClose, key: str) -> Parts:
    """The rated lines in one line of a bill, and what the bill has of each."""
    kind = key.split(":", 1)[0]
    shares = BillLineShare.objects.filter(close=close)
    if shares.exists():
        rows = shares.filter(rated_line__kind=kind).select_related("rated_line")
        found = [Part(one.rated_line, one.quantity, one.amount_nano) for one in rows]
        return Parts(_ordered([one for one in found if bill_key(one.rated, close.period) == key]), recorded=True)
    until = bounds(close.period)[1].date()
    lines = RatedLine.objects.filter(kind=kind, day__lt=until).exclude(invoiced_nano=0)
    mine = [line for line in lines if bill_key(line, close.period) == key]
    return Parts(_ordered([Part(line, _quantity(line), line.invoiced_nano) for line in mine]), recorded=False)


def _ordered(rows: list[Part]) -> list[Part]:
    return sorted(rows, key=lambda one: (one.rated.day, one.rated.project_id, one.rated.model))


def _quantity(line: RatedLine) -> int:
    if line.kind == "dedicated":
        return line.gpu_ms // 1000
    return line.byte_hours if line.kind == "storage" else line.input_tokens + line.output_tokens
