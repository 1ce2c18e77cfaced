"""Invoices and bills as their pages and files show them. Every column of amounts adds up to the total under it."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from billing.ledger.lines import NOT_OF_EVENTS, PACKAGES, TIERS
from billing.models import Invoice, PeriodClose, RatedLine
from billing.periods import bounds
from billing.selectors.bill_parts import LineAsSent, Part, is_usage, lines_of, parts
from billing.selectors.statements import Statement
from console.events_page import address
from console.templatetags.look import cents, count, engine_time, gb_months
from console.usage_page import Names
from kit.ids import public_id
from kit.money import CENT, WITHOUT_CENTS, currency, exact_amount, in_name, with_symbol

COLUMNS = ("what", "line", "day", "project", "model", "kind", "price_book", "quantity", "unit", "amount_usd")
PART_COLUMNS = ("bill", "line", *COLUMNS[2:], "events")


def money(amount: int, code: str = "") -> str:
    """The smallest units of a currency as an amount."""
    sign, size = "−" if amount < 0 else "", abs(amount)
    text = f"{size:,}" if code in WITHOUT_CENTS else f"{size // 100:,}.{size % 100:02d}"
    return f"{sign}{with_symbol(text, code or currency())}"


def columns(names: Iterable[str]) -> list[str]:
    """The head of a file, amounts under the name of the currency they are in."""
    return [in_name(name) for name in names]


def quantity(amount: int, unit: str) -> str:
    """What a line of a bill counted; nothing where an earlier bill had counted it."""
    if not amount:
        return ""
    if unit == "byte-hours":
        return gb_months(amount)
    if unit == "engine-seconds":
        return engine_time(amount)
    return count(amount)


@dataclass(frozen=True, slots=True)
class Sum:
    """One line under an invoice's lines. `strong` ones are results of those above."""

    label: str
    cents: int
    strong: bool = False
    hint: str = ""

    @property
    def amount(self) -> str:
        """The cents as an amount."""
        return money(self.cents)


def sums(found: Statement) -> list[Sum]:
    """From the lines to what is open, each step in cents; steps that change nothing are left out."""
    one = found.sums
    if one is None:
        return []
    unseen = one.subtotal - found.lines_cents
    open_ = _("Open") if found.invoice.status == "open" else _("Given up") if found.given_up_cents else _("Open")
    inside = _("%(tax)s of it is tax") % {"tax": cents(one.tax_inside)} if one.tax_inside else ""
    steps = [
        Sum(_("Lines that are not listed"), unseen),
        Sum(_("Lines"), one.subtotal, strong=True, hint=inside),
        Sum(_("Discounts"), -one.discount),
        Sum(_("Tax"), one.tax_on_top),
        Sum(_("Total"), one.total, strong=True),
        Sum(_("Taken from your balance") if one.balance < 0 else _("Left for the next invoices"), one.balance),
        Sum(_("Credit notes before payment"), -one.noted),
        Sum(_("To pay"), one.owed, strong=True),
        Sum(_("Paid"), -one.paid, hint=_("%(cents)s of it by transfer") % {"cents": cents(one.outside)}
            if one.outside else ""),
        Sum(_("Paid too much, kept for the next invoices"), max(0, one.paid - one.owed)),
        Sum(open_, one.left, strong=True),
    ]  # fmt: skip
    return [step for step in steps if step.strong or step.cents]


def is_by_quantity(rated: RatedLine) -> bool:
    """Whether a rated line says what a month's quantities change, over all projects and models of a base."""
    return rated.price_version.startswith((TIERS, PACKAGES))


def events_address(part: Part) -> str:
    """Where the events of one part are."""
    rated, day = part.rated, part.rated.day.isoformat()
    book = rated.price_version
    for prefix in NOT_OF_EVENTS:
        book = book.removeprefix(prefix)
    if is_by_quantity(rated):
        last = (bounds(rated.day)[1].date() - dt.timedelta(days=1)).isoformat()
        return address(since=day, until=last, project="", kind=rated.kind, model="", book=book)
    return address(
        since=day, until=day, project=public_id("proj_", rated.project_id), kind=rated.kind, model=rated.model,
        book=book,
    )  # fmt: skip


def invoice_rows(found: Statement, names: Names) -> Iterator[tuple[Any, ...]]:
    """An invoice as lines of a file, usage by rated day. They add up to the invoice's total, exactly: what rounding to
    cents changed stands in lines of its own, and so do discounts and tax."""
    closes = {close.period: close for close in PeriodClose.objects.filter(period__in=_months(found))}
    for line in found.lines:
        push = line.push
        close = closes.get(push.period) if push is not None else None
        bill = next((one for one in lines_of(close) if one.key == push.line_key), None) if close and push else None
        if bill is None or close is None:
            yield _row("line", line.description, nano=line.cents * CENT)
            continue
        exact = 0
        if is_usage(bill):
            for part in parts(close, bill.key).rows:
                exact += part.amount_nano
                yield _part("usage", line.description, part, bill.unit, names)
        if exact != bill.amount_nano:
            yield _row("line", line.description, nano=bill.amount_nano - exact)
        if rounding := line.cents * CENT - bill.amount_nano:
            yield _row("rounding", line.description, nano=rounding)
    if found.sums is not None:
        one = found.sums
        for what, amount in (("other", one.subtotal - found.lines_cents), ("discount", -one.discount),
                             ("tax", one.tax_on_top)):  # fmt: skip
            if amount:
                yield _row(what, "", nano=amount * CENT)


def _months(found: Statement) -> set[Any]:
    return {line.push.period for line in found.lines if line.push is not None}


def _row(what: str, line: str, *, nano: int) -> tuple[Any, ...]:
    return (what, line, "", "", "", "", "", "", "", exact_amount(nano))


def _part(what: str, line: str, part: Part, unit: str, names: Names) -> tuple[Any, ...]:
    rated = part.rated
    return (
        what, line, rated.day.isoformat(), names.projects.get(rated.project_id, ""), rated.model, rated.kind,
        rated.price_version, part.quantity, unit, exact_amount(part.amount_nano),
    )  # fmt: skip


def part_rows(close: PeriodClose, key: str, description: str, unit: str, names: Names, events_url: str) -> Any:
    """The parts of one line of a bill as lines of a file, each with the address of its events."""
    for part in parts(close, key).rows:
        row = _part("", description, part, unit, names)
        yield (f"{close.period:%Y-%m}", *row[1:], f"{events_url}?{events_address(part)}")


@dataclass(frozen=True, slots=True)
class BillRow:
    """One line of a closed month: exact, what rounding had left over before, and what the invoice says."""

    sent: LineAsSent
    quantity: str
    href: str
    invoice_href: str

    @property
    def amount(self) -> str:
        """What the invoice says; nothing where none will."""
        push = self.sent.push
        return money(push.amount_cents) if push is not None else ""

    @property
    def state(self) -> str:
        """What became of it."""
        push = self.sent.push
        if push is None:
            return _("nothing was due")
        if not push.amount_cents:
            return _("less than half a cent: carried on")
        return "" if self.sent.invoice is not None else _("waits for an invoice")


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """One invoice in the list."""

    invoice: Invoice
    href: str
    total: str
    paid: str
    open: str
