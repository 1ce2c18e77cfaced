"""One invoice as a tenant reads it: lines, sums, what was paid, credited and given back. Whole cents, from the mirror;
the sums are those that the ledger books by."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from billing.ledger import stripe_books
from billing.ledger.stripe_books import InvoiceSums, NotBookable
from billing.models import CreditNote, Invoice, InvoiceLinePush, Refund
from billing.selectors.bookings import invoice_facts, pushed_lines
from kit.errors import NotFound
from kit.ids import parse_id
from kit.money import currency


@dataclasses.dataclass(frozen=True, slots=True)
class StatementLine:
    """One line. `push` is what we sent for it: usage of a closed month, or what its plan included."""

    description: str
    cents: int
    start: dt.datetime | None
    end: dt.datetime | None
    push: InvoiceLinePush | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Credited:
    """One credit note: what it takes off, and by which ways that went back."""

    note: CreditNote
    before: int
    """Taken off before the invoice was paid."""
    refunds: list[tuple[str, int, Refund | None]]
    """(Stripe's id, cents, the mirror's row if it is known)."""
    outside: int
    balance: int
    """Left for the next invoices."""


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """Everything on an invoice. `sums` is None where its amounts cannot be read, and `problem` says why."""

    invoice: Invoice
    lines: list[StatementLine]
    sums: InvoiceSums | None
    problem: str
    credited: list[Credited]

    @property
    def lines_cents(self) -> int:
        """What the lines add up to."""
        return sum(line.cents for line in self.lines)

    @property
    def open_cents(self) -> int:
        """What is still to be paid."""
        return self.sums.left if self.sums is not None and self.invoice.status == "open" else 0

    @property
    def given_up_cents(self) -> int:
        """What nobody is asked for any more, because the invoice is void or written off."""
        gone = self.invoice.status in ("void", "uncollectible")
        return self.sums.left if self.sums is not None and gone else 0


def invoice_by_id(invoice_id: str) -> Invoice:
    """An issued invoice of the scope's tenant; NotFound for a draft and for anybody else's."""
    pk = parse_id(Invoice.prefix, invoice_id)
    found: Invoice | None = Invoice.objects.filter(pk=pk).exclude(status="draft").first()
    if found is None:
        raise NotFound.of(invoice_id)
    return found


def sums_of(invoice: Invoice) -> InvoiceSums | None:
    """An invoice's sums; None where its amounts cannot be read, or are not in the organisation's currency."""
    try:
        return stripe_books.invoice_sums(invoice_facts(invoice), currency())
    except NotBookable:
        return None


def statement(invoice: Invoice) -> Statement:
    """An invoice with everything that happened to it."""
    try:
        sums, problem = stripe_books.invoice_sums(invoice_facts(invoice), currency()), ""
    except NotBookable as error:
        sums, problem = None, str(error)
    notes = CreditNote.objects.filter(invoice_id=invoice.stripe_id, status="issued").order_by("created_at", "pk")
    return Statement(invoice, _lines(invoice), sums, problem, [_credited(note) for note in notes])


def not_kept(invoice: Invoice) -> int:
    """Cents of an invoice that nobody paid, or that went back: what is open or given up, and its credit notes. All of
    it, where its amounts cannot be read."""
    sums = sums_of(invoice)
    if sums is None:
        return max(0, invoice.total)
    notes = CreditNote.objects.filter(invoice_id=invoice.stripe_id, status="issued")
    back = sum(note.amount - before_payment(note) for note in notes)
    unused = -min(0, sums.balance) if sums.status == "void" else 0  # the customer's balance came back with it
    return sums.left + sums.noted + unused + back


def before_payment(note: CreditNote) -> int:
    """Cents that a credit note took off before its invoice was paid: nothing that was paid went back with these."""
    before = note.raw.get("pre_payment_amount")
    if before is None:
        before = note.amount if note.raw.get("type") == "pre_payment" else 0
    return int(before)


def refunds() -> list[Refund]:
    """Every refund of the scope's tenant, newest first."""
    return list(Refund.objects.order_by("-created_at", "-pk"))


def _lines(invoice: Invoice) -> list[StatementLine]:
    pushes = {id(line): push for push, line in pushed_lines(invoice)}
    raw = invoice.raw.get("lines", {}).get("data", [])
    if not any("amount" in line for line in raw):
        return [
            StatementLine(line["description"], line["amount"], _at(line["period_start"]), _at(line["period_end"]))
            for line in invoice.lines
        ]
    return [
        StatementLine(
            line.get("description") or "",
            line["amount"],
            _at((line.get("period") or {}).get("start")),
            _at((line.get("period") or {}).get("end")),
            pushes.get(id(line)),
        )
        for line in raw
    ]


def _credited(note: CreditNote) -> Credited:
    raw: dict[str, Any] = note.raw
    before = before_payment(note)
    given: list[tuple[str, int]] = []
    for entry in raw.get("refunds") or []:
        refund = entry.get("refund")
        given.append((str(refund["id"] if isinstance(refund, dict) else refund or ""), int(entry["amount_refunded"])))
    rows = {row.stripe_id: row for row in Refund.objects.filter(stripe_id__in=[one for one, _ in given])}
    outside = raw.get("out_of_band_amount") or 0
    balance = note.amount - before - outside - sum(cents for _, cents in given)
    return Credited(note, before, [(one, cents, rows.get(one)) for one, cents in given], outside, balance)


def _at(seconds: int | None) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None
