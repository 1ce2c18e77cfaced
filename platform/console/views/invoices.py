"""Invoices and the bills of closed months: line by line, down to the rated days and their events."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing.models import Invoice, PeriodClose
from billing.selectors import bill_parts, meters, statements, subscriptions
from billing.stripe_port import stripe_port
from console import invoices_page, tiers
from console.events_page import address
from console.paging import page_number, page_of
from console.usage_page import Names
from console.views.base import ConsoleView, Download, Outside
from kit.csvs import csv_response
from kit.errors import Conflict

MONTHS = 36
"""Closed months shown in the list."""


class InvoicesView(ConsoleView):
    """What these pages share."""

    section = "billing"
    required_scopes = {"GET": "billing.read"}

    def crumbs(self, *more: tuple[str, str]) -> list[dict[str, str]]:
        """The way back."""
        places = (
            (_("Billing"), self.org_path("billing")),
            (_("Invoices"), self.org_path("invoices")),
        )
        return [{"label": label, "href": href} for label, href in (*places, *more)]

    def month_path(self, close: PeriodClose) -> str:
        """The page of a closed month."""
        return self.org_path("bill", f"{close.period:%Y-%m}")

    def line_path(self, period: Any, key: str) -> str:
        """The page of one line of a bill."""
        return f"{self.org_path('bill_line', f'{period:%Y-%m}')}?{address(key=key)}"


class Invoices(InvoicesView):
    """`/billing/invoices/`: every invoice, every closed month, every refund."""

    template_name = "console/invoices.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """One page of invoices."""
        page = page_of(subscriptions.invoices(), page_number(request.GET.get("page")))
        closes = list(bill_parts.closes()[:MONTHS])
        return self.page(
            {
                "page": page,
                "rows": [self._row(invoice) for invoice in page.rows],
                "months": [(close, self.month_path(close)) for close in closes],
                "credits": any(getattr(close, "drawn_nano", 0) for close in closes),
                "refunds": [(row, invoices_page.money(row.amount, row.currency)) for row in statements.refunds()],
                "crumbs": self.crumbs()[:1],
            }
        )

    def _row(self, invoice: Invoice) -> invoices_page.InvoiceRow:
        sums = statements.sums_of(invoice)
        left = sums.left if sums is not None and invoice.status == "open" else 0
        return invoices_page.InvoiceRow(
            invoice=invoice,
            href=self.org_path("invoice", invoice.public_id),
            total=invoices_page.money(invoice.total, invoice.currency),
            paid=invoices_page.money(sums.paid if sums is not None else invoice.amount_paid, invoice.currency),
            open=invoices_page.money(left, invoice.currency) if left else "",
        )


class InvoicePage(InvoicesView):
    """`/billing/invoices/<id>/`."""

    template_name = "console/invoice.html"

    def get(self, request: HttpRequest, invoice: str) -> HttpResponseBase:
        """Show it."""
        row = statements.invoice_by_id(invoice)
        found = statements.statement(row)
        months = sorted({line.push.period for line in found.lines if line.push is not None})
        usage = bill_parts.usage_keys(months)
        return self.page(
            {
                "invoice": row,
                "found": found,
                "lines": [
                    (line, invoices_page.money(line.cents, row.currency), self._opens(line, usage))
                    for line in found.lines
                ],
                "sums": invoices_page.sums(found),
                "total": invoices_page.money(row.total, row.currency),
                "left": invoices_page.money(found.open_cents, row.currency),
                "months": months,
                "csv_url": self.org_path("invoice_csv", row.public_id),
                "crumbs": self.crumbs(),
            }
        )  # fmt: skip

    def _opens(self, line: statements.StatementLine, usage: set[tuple[dt.date, str]]) -> str:
        """Where a line of usage leads: its rated days; a line that takes off leads to its month."""
        push = line.push
        if push is None:
            return ""
        if (push.period, push.line_key) in usage:
            return self.line_path(push.period, push.line_key)
        return self.org_path("bill", f"{push.period:%Y-%m}")


class InvoiceCsv(InvoicesView, Download):
    """An invoice by rated day, as a file that adds up to its total."""

    def get(self, request: HttpRequest, invoice: str) -> HttpResponseBase:
        """Send it."""
        row = statements.invoice_by_id(invoice)
        rows = invoices_page.invoice_rows(statements.statement(row), Names.of_scope())
        return csv_response(
            f"invoice-{row.number or row.public_id}.csv", invoices_page.columns(invoices_page.COLUMNS), rows
        )


class Receipt(InvoicesView):
    """`/billing/invoices/<id>/receipt`: the payment provider's receipt, whose address is asked for at need."""

    def get(self, request: HttpRequest, invoice: str) -> HttpResponseBase | Outside:
        """Go there; Conflict for an invoice that no card or bank account paid."""
        row = statements.invoice_by_id(invoice)
        if row.status != "paid":
            raise Conflict(_("This invoice is not paid, so there is no receipt yet."))
        return Outside(lambda: stripe_port().receipt_url(row.stripe_id), self._go)

    def _go(self, url: str) -> HttpResponseBase:
        if not url:
            raise Conflict(_("This invoice was paid without a card or bank account, so there is no receipt of it."))
        return redirect(url)


class Bill(InvoicesView):
    """`/billing/months/<2026-10>/`: the bill of a closed month, exact, and what went to an invoice of it."""

    template_name = "console/bill.html"

    def get(self, request: HttpRequest, period: str) -> HttpResponseBase:
        """Show it."""
        close = bill_parts.close_of(period)
        rows = [self._row(close, line) for line in bill_parts.lines_as_sent(close)]
        pushes = [row.sent.push for row in rows if row.sent.push is not None]
        return self.page(
            {
                "close": close,
                "rows": rows,
                "sent": bool(pushes),
                "metered": self._metered(close),
                "carried": sum(row.sent.carried_in for row in rows),
                "asked": invoices_page.money(sum(push.amount_cents for push in pushes)),
                "kept": sum(push.remainder_nano for push in pushes),
                "crumbs": self.crumbs(),
            }
        )

    def _metered(self, close: PeriodClose) -> dict[str, Any] | None:
        """What of the month was told to a meter by the hour, and the invoices that ask for it."""
        found = meters.month_metered(close.period)
        if found is None:
            return None
        links = [(one.number or one.public_id, self.org_path("invoice", one.public_id)) for one in found.invoices]
        told, lines = (invoices_page.money(cents) for cents in (found.told, found.lines))
        return {"told": told, "lines": lines if found.lines else "", "invoices": links}

    def _row(self, close: PeriodClose, sent: bill_parts.LineAsSent) -> invoices_page.BillRow:
        counts = sent.opens and sent.line.unit != "adjustment"  # its words say the month's quantity; "1" says nothing
        return invoices_page.BillRow(
            sent=sent,
            quantity=invoices_page.quantity(sent.line.quantity, sent.line.unit) if counts else "",
            href=self.line_path(close.period, sent.line.key) if sent.opens else "",
            invoice_href=self.org_path("invoice", sent.invoice.public_id) if sent.invoice is not None else "",
        )


class BillLine(InvoicesView):
    """`/billing/months/<2026-10>/line?key=…`: the rated days in one line of a bill; each opens its events."""

    template_name = "console/bill_line.html"

    def get(self, request: HttpRequest, period: str) -> HttpResponseBase:
        """Show it."""
        close = bill_parts.close_of(period)
        line = bill_parts.line_of(close, request.GET.get("key", ""))
        found, names = bill_parts.parts(close, line.key), Names.of_scope()
        events = self.org_path("usage_events")
        return self.page(
            {
                "close": close,
                "line": line,
                "parts": found,
                "rows": [
                    (
                        part,
                        _("all projects")
                        if invoices_page.is_by_quantity(part.rated)
                        else names.projects.get(part.rated.project_id) or _("archived project"),
                        invoices_page.quantity(part.quantity, line.unit),
                        f"{events}?{invoices_page.events_address(part)}" if self.can("usage.read") else "",
                    )
                    for part in found.rows
                ],
                "explained": [
                    tiers.explained(part.rated) for part in found.rows if invoices_page.is_by_quantity(part.rated)
                ],
                "missing": line.amount_nano - found.amount_nano,
                "quantity": invoices_page.quantity(sum(part.quantity for part in found.rows), line.unit),
                "csv_url": f"{self.org_path('bill_line_csv', period)}?{address(key=line.key)}",
                "crumbs": self.crumbs((date_format(close.period, "F Y"), self.month_path(close))),
            }
        )


class BillLineCsv(InvoicesView, Download):
    """The same rated days as a file."""

    def get(self, request: HttpRequest, period: str) -> HttpResponseBase:
        """Send it."""
        close = bill_parts.close_of(period)
        line = bill_parts.line_of(close, request.GET.get("key", ""))
        events = request.build_absolute_uri(self.org_path("usage_events"))
        rows: Iterable[Any] = invoices_page.part_rows(
            close, line.key, line.description, line.unit, Names.of_scope(), events
        )
        head = invoices_page.columns(invoices_page.PART_COLUMNS)
        return csv_response(f"bill-{period}-line.csv", head, rows)
