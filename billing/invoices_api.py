"""`/v1/billing/invoices` and `/v1/billing/months`: from an invoice down to the rated days it is made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.response import Response

from billing import money_schema as schema
from billing.ledger.stripe_books import InvoiceSums
from billing.models import Invoice, PeriodClose
from billing.selectors import bill_parts, statements
from billing.selectors.bill_parts import LineAsSent, Part
from billing.selectors.statements import Credited, StatementLine
from kit.clock import unix
from kit.csvs import csv_response
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id, public_id
from kit.money import exact_amount, in_name, number
from kit.pages import cursor_page, read_limit
from kit.schema import describe, paging, query
from tenants.api import TenantAPIView

LINE = query("line", str, "Only of this line: a `key` of the month's `lines`.")
DAY = "rated-"
"""Prefix of a rated day's id."""
COLUMNS = (
    "id", "month", "line", "day", "project_id", "kind", "model", "price_version", "quantity", "unit", "amount_usd",
)  # fmt: skip


class InvoicesView(TenantAPIView):
    """Issued invoices."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "billing.read"}

    @describe(name="billing_invoices_list", answers=schema.INVOICES, fields=paging(default=20, maximum=100))
    def get(self, request: Request) -> Response:
        """List invoices

        The organisation's invoices, newest first, without their lines.
        """
        return Response(
            cursor_page(
                Invoice.objects.exclude(status="draft"),
                request.query_params,
                parse=lambda text: parse_id(Invoice.prefix, text),
                render=invoice_object,
            )
        )


class InvoiceView(TenantAPIView):
    """One invoice."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "billing.read"}

    @describe(name="billing_invoices_retrieve", answers=schema.INVOICE_WHOLE)
    def get(self, request: Request, invoice: str) -> Response:
        """Retrieve an invoice

        With its lines, its sums and its credit notes. A line of usage names the month and the line of its bill, whose
        rated days `GET /v1/billing/months/{month}/days` lists.
        """
        found = statements.statement(statements.invoice_by_id(invoice))
        return Response(
            {
                **invoice_object(found.invoice),
                "sums": _sums(found.sums),
                "lines": [_line(line) for line in found.lines],
                "credit_notes": [_credited(note) for note in found.credited],
            }
        )


def invoice_object(row: Invoice) -> dict[str, Any]:
    """An invoice on the wire, without its lines."""
    sums = statements.sums_of(row)
    return {
        "id": row.public_id,
        "object": "billing.invoice",
        "number": row.number or None,
        "status": row.status,
        "currency": row.currency,
        "issued_at": unix(row.issued_at),
        "due_at": unix(row.due_at),
        "paid_at": unix(row.paid_at),
        "collection_method": row.raw.get("collection_method") or "charge_automatically",
        "total": row.total,
        "paid": sums.paid if sums is not None else row.amount_paid,
        "open": (sums.left if sums is not None else row.amount_due - row.amount_paid) if row.status == "open" else 0,
        "hosted_url": row.hosted_url or None,
        "pdf_url": row.pdf_url or None,
    }


def _sums(found: InvoiceSums | None) -> dict[str, int] | None:
    if found is None:
        return None
    return {
        "subtotal": found.subtotal,
        "discount": found.discount,
        "tax": found.tax,
        "total": found.total,
        "balance": found.balance,
        "credited_before_payment": found.noted,
        "paid": found.paid,
        "left": found.left,
    }


def _line(line: StatementLine) -> dict[str, Any]:
    return {
        "description": line.description,
        "amount": line.cents,
        "period_start": unix(line.start),
        "period_end": unix(line.end),
        "month": f"{line.push.period:%Y-%m}" if line.push is not None else None,
        "key": line.push.line_key if line.push is not None else None,
    }


def _credited(one: Credited) -> dict[str, Any]:
    return {
        "id": one.note.public_id,
        "object": "billing.credit_note",
        "number": one.note.number or None,
        "created_at": unix(one.note.created_at),
        "amount": one.note.amount,
        "before_payment": one.before,
        "refunded": sum(cents for _, cents, _row in one.refunds),
        "to_balance": one.balance,
        "outside": one.outside,
    }


class MonthsView(TenantAPIView):
    """Closed months."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "billing.read"}

    @describe(name="billing_months_list", answers=schema.MONTHS, fields=paging(default=20, maximum=100, order=False))
    def get(self, request: Request) -> Response:
        """List closed months

        What each month's usage came to, exactly, whether or not an invoice asks for it; newest first.
        """
        return Response(
            cursor_page(
                PeriodClose.objects.all(),
                request.query_params,
                parse=lambda text: UUID(str(bill_parts.close_of(text).pk)),
                render=month_object,
            )
        )


class MonthView(TenantAPIView):
    """One closed month."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "billing.read"}

    @describe(name="billing_months_retrieve", answers=schema.MONTH_WHOLE)
    def get(self, request: Request, month: str) -> Response:
        """Retrieve a closed month

        With the lines of its bill in nano of its currency, and the invoice that each is on.
        """
        close = bill_parts.close_of(month)
        lines = [_bill_line(line) for line in bill_parts.lines_as_sent(close)]
        return Response({**month_object(close), "lines": lines})


def month_object(close: PeriodClose) -> dict[str, Any]:
    """A closed month on the wire, without its lines."""
    return {
        "id": f"{close.period:%Y-%m}",
        "object": "billing.month",
        "closed_at": unix(close.closed_at),
        "usage_usd": number(close.usage_nano),
        "x_usage_nano": close.usage_nano,
        "x_included_nano": close.allowance_nano,
        "x_credit_nano": close.drawn_nano,
        "due_usd": number(close.net_nano),
        "x_due_nano": close.net_nano,
    }


def _bill_line(one: LineAsSent) -> dict[str, Any]:
    line = one.line
    return {
        "key": line.key,
        "description": line.description,
        "quantity": line.quantity,
        "unit": line.unit,
        "x_amount_nano": line.amount_nano,
        "invoice_id": one.invoice.public_id if one.invoice is not None else None,
        "invoiced": one.push.amount_cents if one.push is not None else None,
    }


class DaysView(TenantAPIView):
    """The rated days of a bill."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "billing.read"}

    @describe(
        name="billing_months_days",
        answers=schema.DAYS,
        fields=[*paging(default=20, maximum=100, order=False), LINE],
    )
    def get(self, request: Request, month: str) -> Response:
        """List rated days

        What the bill of a closed month has of each day, project and model, oldest first. They sum to the line, to the
        nano. `GET /v1/billing/events` has the events of a day.
        """
        asked = request._request.GET
        limit = read_limit(asked.get("limit"), default=20, maximum=100)
        rows = list(_days(bill_parts.close_of(month), asked))
        after, first = asked.get("after"), 0
        if after:
            first = next((at + 1 for at, row in enumerate(rows) if row["id"] == after), -1)
            if first < 0:
                raise BadRequest(f"'after' is not an id of this list: '{after[:100]}'.", param="after")
        data = rows[first : first + limit]
        return Response(
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": len(rows) > first + limit,
            }
        )


class DaysCsvView(TenantAPIView):
    """The same days as a file."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "billing.read"}

    @describe(name="billing_months_days_csv", answers={(200, "text/csv"): bytes}, fields=[LINE])
    def get(self, request: Request, month: str) -> Any:
        """Download rated days

        All rated days of a closed month as CSV. Amounts are exact decimals.
        """
        rows = [
            [exact_amount(row["x_amount_nano"]) if name == "amount_usd" else row[name] for name in COLUMNS]
            for row in _days(bill_parts.close_of(month), request._request.GET)
        ]
        return csv_response(f"rated-days-{month}.csv", [in_name(name) for name in COLUMNS], rows)


def _days(close: PeriodClose, asked: QueryDict) -> Iterator[dict[str, Any]]:
    """The parts of the bill's lines of usage, or of the one that is asked for."""
    lines = [line for line in bill_parts.lines_of(close) if bill_parts.is_usage(line)]
    if key := asked.get("line"):
        try:
            lines = [bill_parts.line_of(close, key)]
        except NotFound as error:
            raise BadRequest("'line' is not a line of usage of this month's bill.", param="line") from error
    for line in lines:
        for part in bill_parts.parts(close, line.key).rows:
            yield _day(close.period, line.key, line.unit, part)


def _day(period: dt.date, key: str, unit: str, part: Part) -> dict[str, Any]:
    rated = part.rated
    return {
        "id": public_id(DAY, rated.pk),
        "object": "billing.rated_day",
        "month": f"{period:%Y-%m}",
        "line": key,
        "day": rated.day.isoformat(),
        "project_id": public_id("proj_", rated.project_id),
        "kind": rated.kind,
        "model": rated.model,
        "price_version": rated.price_version,
        "quantity": part.quantity,
        "unit": unit,
        "amount_usd": number(part.amount_nano),
        "x_amount_nano": part.amount_nano,
    }
