"""What staff may do to an order and its invoices. Each takes a reason, acts through the room of orders, and is logged
twice, as everything in `ops.services` is.
"""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from billing.models import StripeCommand
from billing.services.commands import command_finish
from kit.errors import NotFound
from ops.services import Staff, acting_in, record
from orders import services as orders
from orders.models import Milestone, Order, OrderInvoice, Quote, QuoteRevision
from orders.pricing import Line
from registry import selectors as registry


def _order(order_id: UUID) -> Order:
    found: Order | None = Order.objects.filter(pk=order_id).first()
    if found is None:
        raise NotFound.of(order_id)
    return found


def _quote(quote_id: UUID) -> Quote:
    found: Quote | None = Quote.objects.select_related("order").filter(pk=quote_id).first()
    if found is None:
        raise NotFound.of(quote_id)
    return found


def _author(by: Staff) -> orders.Author:
    return orders.Author(str(by.user.pk), by.user.email)


def order_assess(*, tenant_id: UUID, order_id: UUID, by: Staff) -> None:
    """Say that we look whether it can be done."""
    with acting_in(tenant_id, by):
        row = orders.order_assess(order=_order(order_id), reason=by.reason.strip())
        record(action="order.assess", target=row, by=by, tenant_id=tenant_id)


def order_decline(*, tenant_id: UUID, order_id: UUID, text: str, by: Staff) -> None:
    """Do not take it; the customer reads `text`."""
    with acting_in(tenant_id, by):
        row = orders.order_decline(order=_order(order_id), text=text, reason=by.reason.strip())
        record(action="order.decline", target=row, by=by, tenant_id=tenant_id)


def order_message(*, tenant_id: UUID, order_id: UUID, text: str, by: Staff) -> None:
    """Say something in the timeline."""
    with acting_in(tenant_id, by):
        row = _order(order_id)
        orders.message_send(order=row, text=text, side="staff", reason=by.reason.strip())
        record(action="order.message", target=row, by=by, tenant_id=tenant_id)


def order_measure(*, tenant_id: UUID, order_id: UUID, rows: int, by: Staff) -> None:
    """Measure what the sample promises, at our cost."""
    with acting_in(tenant_id, by):
        row = _order(order_id)
        shown = orders.feasibility_ask(order=row, rows=rows, reason=by.reason.strip())
        detail = {"file": shown.file.public_id, "rows": rows}
        record(action="order.measure", target=row, by=by, tenant_id=tenant_id, detail=detail)


def quote_write(
    *,
    tenant_id: UUID,
    order_id: UUID,
    by: Staff,
    scope: str,
    lines: Sequence[Line],
    parts: Sequence[orders.Part],
    **terms: int,
) -> QuoteRevision:
    """A revision of the order's quote."""
    with acting_in(tenant_id, by):
        row = _order(order_id)
        made = orders.revision_create(
            order=row,
            author=_author(by),
            scope=scope,
            lines=lines,
            parts=parts,
            reason=by.reason.strip(),
            **terms,
        )
        detail = {"quote": made.quote.number, "revision": made.number, "total_cents": made.total_cents}
        record(action="quote.write", target=row, by=by, tenant_id=tenant_id, detail=detail)
        return made


def quote_approve(*, tenant_id: UUID, quote_id: UUID, by: Staff) -> None:
    """Agree to a discount that somebody else gave."""
    with acting_in(tenant_id, by):
        row = _quote(quote_id)
        orders.revision_approve(quote=row, by=_author(by), reason=by.reason.strip())
        record(action="quote.approve", target=row, by=by, tenant_id=tenant_id, detail={"revision": row.revision})


def quote_send(*, tenant_id: UUID, quote_id: UUID, email: str, by: Staff) -> bool:
    """Mail the way to a quote's acceptance page; False when the mail server refused, and it can be sent again."""
    with acting_in(tenant_id, by):
        row = _quote(quote_id)
        link, token = orders.quote_send(quote=row, email=email, by="", reason=by.reason.strip())
        detail = {"revision": row.revision, "email": email}
        record(action="quote.send", target=row, by=by, tenant_id=tenant_id, detail=detail)
    return orders.link_mail(tenant_id=tenant_id, link_id=link.pk, token=token)


def quote_withdraw(*, tenant_id: UUID, quote_id: UUID, text: str, by: Staff) -> None:
    """Take back what was sent."""
    with acting_in(tenant_id, by):
        row = _quote(quote_id)
        orders.quote_withdraw(quote=row, text=text, reason=by.reason.strip())
        record(action="quote.withdraw", target=row, by=by, tenant_id=tenant_id)


def milestone_deliver(*, tenant_id: UUID, milestone_id: UUID, model: str, by: Staff) -> Milestone:
    """Hand a model over for a milestone, by its name in the order's project."""
    with acting_in(tenant_id, by):
        found = Milestone.objects.select_related("contract__order").filter(pk=milestone_id).first()
        if found is None:
            raise NotFound.of(milestone_id)
        order = found.contract.order
        version = registry.model_version_by_name(order.project_id, model.strip(), param="model")
        row = orders.milestone_deliver(milestone=found, version=version, reason=by.reason.strip())
        record(
            action="milestone.deliver",
            target=order,
            by=by,
            tenant_id=tenant_id,
            detail={"milestone": row.title, "model": row.model, "measured": row.measured},
        )
        return row


def retrain_start(*, tenant_id: UUID, order_id: UUID, text: str, by: Staff) -> Milestone:
    """Train again under the warranty; the customer reads `text`."""
    with acting_in(tenant_id, by):
        row = _order(order_id)
        made = orders.retrain_start(order=row, text=text, side="staff", reason=by.reason.strip())
        detail = {"milestone": made.title}
        record(action="order.retrain", target=row, by=by, tenant_id=tenant_id, detail=detail)
        return made


def _invoice(invoice_id: UUID) -> OrderInvoice:
    found = OrderInvoice.objects.select_related("contract__order").filter(pk=invoice_id).first()
    if found is None:
        raise NotFound.of(invoice_id)
    row: OrderInvoice = found
    return row


def credit_settle(*, tenant_id: UUID, invoice_id: UUID, way: str, by: Staff) -> OrderInvoice:
    """Decide what becomes of what was credited of an order's invoice."""
    with acting_in(tenant_id, by):
        row = orders.invoice_settle(invoice=_invoice(invoice_id), way=way, reason=by.reason.strip())
        detail = {"way": way, "waived_cents": row.waived_cents, "again_cents": row.again_cents}
        record(action="order.credit_settle", target=row, by=by, tenant_id=tenant_id, detail=detail)
        return row


def transfer_record(
    *, tenant_id: UUID, invoice_id: UUID, reference: str, cents: int, received_on: dt.date, by: Staff
) -> StripeCommand:
    """Note a payment by bank transfer, and tell Stripe; the command, done or on its way. Raises what Stripe refused."""
    with acting_in(tenant_id, by):
        row = _invoice(invoice_id)
        command = orders.transfer_record(
            invoice=row, reference=reference, cents=cents, received_on=received_on, reason=by.reason.strip()
        )
        detail = {"reference": reference, "cents": cents, "received_on": received_on.isoformat()}
        record(action="order.transfer", target=row, by=by, tenant_id=tenant_id, detail=detail)
    return command_finish(command)
