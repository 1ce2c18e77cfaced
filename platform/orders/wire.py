"""An order on the wire. Amounts are whole cents of its organisation's currency."""

import datetime as dt
from typing import Any

from orders.models import Contract, Milestone, Order, OrderEvent, PurchaseOrder, QuoteRevision
from orders.selectors import Account, Asked, facts_of
from orders.words import words_of
from tenants.currency import paid_in


def order_object(order: Order) -> dict[str, Any]:
    """The order with its quote, contract, milestones and invoices as they stand."""
    facts = facts_of(order)
    return {
        "id": order.public_id,
        "object": "order",
        "title": order.title,
        "task": order.task,
        "brief": order.brief,
        "success": order.success or None,
        "calls_per_month": order.calls_per_month,
        "wanted_by": order.wanted_by.isoformat() if order.wanted_by else None,
        "contact": order.contact,
        "currency": paid_in(),
        "status": order.state,
        "file_ids": [shown.file.public_id for shown in facts["files"]],
        "created_at": seconds(order.created_at),
        "changed_at": seconds(order.changed_at),
        "quote": _quote(facts["revision"], facts["lines"]) if facts["revision"] else None,
        "contract": _contract(facts["contract"]) if facts["contract"] else None,
        "milestones": [_milestone(one) for one in facts["milestones"]],
        "invoices": [_invoice(one) for one in facts["invoices"]],
        "account": _account(facts["account"]) if facts["account"] else None,
        "purchase_orders": [_purchase_order(one) for one in facts["purchase_orders"]],
    }


def _quote(revision: QuoteRevision, lines: list[Any]) -> dict[str, Any]:
    return {
        "number": revision.quote.number,
        "revision": revision.number,
        "status": revision.quote.state,
        "scope": revision.scope,
        "lines": [
            {
                "description": line.description,
                "quantity": line.quantity,
                "unit_cents": line.unit_cents,
                "amount_cents": line.amount_cents,
            }
            for line in lines
        ],
        "subtotal_cents": revision.subtotal_cents,
        "discount_cents": revision.discount_cents,
        "total_cents": revision.total_cents,
        "deposit_cents": revision.deposit_cents,
        "net_days": revision.net_days,
        "warranty_days": revision.warranty_days,
        "valid_until": revision.valid_until.isoformat(),
        "sha256": revision.sha256,
    }


def _contract(contract: Contract) -> dict[str, Any]:
    return {
        "number": contract.number,
        "signed_at": seconds(contract.signed_at),
        "signed_by": contract.acceptance.name,
        "purchase_order": contract.purchase_order or None,
        "terms": {"version": contract.terms_version, "sha256": contract.terms_sha256},
        "dpa": {"version": contract.dpa_version, "sha256": contract.dpa_sha256},
        "warranty_until": contract.warranty_until.isoformat() if contract.warranty_until else None,
    }


def _milestone(one: Milestone) -> dict[str, Any]:
    return {
        "id": one.public_id,
        "title": one.title,
        "status": one.state,
        "amount_cents": one.cents,
        "due_on": one.due_on.isoformat(),
        "metric": one.metric or None,
        "least": one.least,
        "model": one.model or None,
        "measured": one.measured,
        "warranty": one.warranty,
    }


def _invoice(one: Asked) -> dict[str, Any]:
    row, mirror = one.row, one.mirror
    return {
        "kind": row.kind,
        "description": row.description,
        "amount_cents": row.cents,
        "credited_cents": one.credited,
        "number": (mirror.number or None) if mirror else None,
        "status": {"sending": "pending", "given_up": "void"}.get(one.state, one.state),
        "paid_at": seconds(row.paid_at),
    }


def _account(one: Account) -> dict[str, Any]:
    return {
        "total_cents": one.total,
        "paid_cents": one.paid,
        "waived_cents": one.waived,
        "owed_cents": one.owed,
        "invoiced_cents": one.invoiced,
    }


def _purchase_order(one: PurchaseOrder) -> dict[str, Any]:
    return {
        "id": one.public_id,
        "filename": one.filename,
        "content_type": one.content_type,
        "bytes": one.bytes,
        "sha256": one.sha256,
        "created_at": seconds(one.created_at),
    }


def event_object(event: OrderEvent) -> dict[str, Any]:
    """An entry of the timeline."""
    said = words_of(event)
    return {
        "id": event.public_id,
        "object": "order.event",
        "type": event.kind,
        "side": event.side,
        "by": event.who or None,
        "message": "\n".join(part for part in (said.heading, said.text) if part),
        "created_at": seconds(event.at),
    }


def seconds(moment: dt.datetime | None) -> int | None:
    """Since 1970."""
    return int(moment.timestamp()) if moment is not None else None
