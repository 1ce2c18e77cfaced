"""Invoices of orders at Stripe: sent by mail with days to pay and the purchase order, apart from usage and plan.

A row is written when an invoice becomes due. Here it is made at Stripe, under keys that derive from the row, and what
Stripe says of it is read from the mirror: paid is what Stripe calls paid.
"""

import logging
import uuid

from billing.errors import PaymentsAway, StripeRefused
from billing.models import Invoice
from billing.selectors.subscriptions import customer_current
from billing.services.commands import KEY_LIFE, command_finish
from billing.services.locks import money_lock
from billing.services.mirror import invoice_mirror
from billing.services.subscriptions import customer_write
from billing.services.sweeps import for_each
from billing.stripe_port import Json, stripe_port
from kit.clock import now
from kit.errors import ApiError
from orders import states
from orders.models import OrderInvoice
from orders.services.timeline import order_lock, say, step
from tenants import audit
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

logger = logging.getLogger(__name__)
NOT_PAID = "Nothing is left to pay, but not all of it was paid: a part was credited, or it asked for less."


def invoices_make(*, tenant_id: uuid.UUID) -> int:
    """Make at Stripe what waits; how many. Not inside a scope: each one commits by itself. Safe to repeat."""
    with tenant_scope(tenant_id):
        waiting = list(OrderInvoice.objects.filter(stripe_id="").order_by("pk").values_list("pk", flat=True))
    if waiting:
        _customer_make(tenant_id)
    return sum(_make(tenant_id, pk) for pk in waiting)


def _customer_make(tenant_id: uuid.UUID) -> None:
    """Make the tenant a customer at Stripe where it is none yet; what is refused is seen by each invoice."""
    try:
        with tenant_scope(tenant_id):
            command = customer_write()
        if command is not None:
            command_finish(command)
    except ApiError as error:
        logger.warning("the tenant %s could not be made a customer: %s", tenant_id, error.message)


def _make(tenant_id: uuid.UUID, pk: uuid.UUID) -> bool:
    try:
        with tenant_scope(tenant_id):
            _make_one(pk)
        return True
    except ApiError as error:  # whatever Stripe says of this one, the others are not to wait for it
        logger.warning("the invoice %s of an order could not be made: %s", pk, error.message)
        with tenant_scope(tenant_id):
            OrderInvoice.objects.filter(pk=pk).update(problem=error.message[:300])
        return False


def _make_one(pk: uuid.UUID) -> None:
    money_lock(current_tenant_id())
    row: OrderInvoice = OrderInvoice.objects.select_related("contract", "contract__order").get(pk=pk)
    if row.stripe_id:
        return
    customer, contract = customer_current(), row.contract
    if customer is None:
        raise PaymentsAway
    port, mark = stripe_port(), {"order": contract.order.public_id, "order_invoice": str(row.pk)}
    begun, key = _begun(customer.stripe_id, row)
    if begun is not None and begun["status"] != "draft":
        row.stripe_id = begun["id"]
    else:
        row.stripe_id = port.invoice_alone(
            customer_id=customer.stripe_id,
            amount_cents=row.cents,
            description=row.description,
            days=max(contract.net_days, 1),  # with none, as older contracts may say, it were overdue at once
            fields=_fields(contract.number, contract.purchase_order),
            metadata=mark,
            idempotency_key=key,
            draft=begun,
        )
    row.sent_at, row.problem = now(), ""
    row.save(update_fields=["stripe_id", "sent_at", "problem"])
    found = invoice_mirror(customer, row.stripe_id)
    detail = {"kind": row.kind, "cents": row.cents, "number": found.number if found else ""}
    say(order=contract.order, kind="invoice.sent", side=states.SYSTEM, detail=detail)
    audit.record(action="order.invoiced", target=contract.order, after={**detail, "stripe_id": row.stripe_id})


def _begun(customer_id: str, row: OrderInvoice) -> tuple[Json | None, str]:
    """What an earlier try left at Stripe, once its keys are forgotten: an invoice that asks for the whole amount, or a
    draft to go on from; and the key of what is still to be done. StripeRefused for one that asks for something else."""
    key = f"order-{row.pk}"
    if now() - row.created_at <= KEY_LIFE:
        return None, key
    found = stripe_port().invoice_marked(customer_id, "order_invoice", str(row.pk))
    if found is None or found["total"] >= row.cents:
        return found, key
    if found["total"] == 0:  # its line never came; closed like that it asks for nothing, and another one is made
        return (found, key) if found["status"] == "draft" else (None, f"{key}-after-{found['id']}")
    raise StripeRefused(
        f"The invoice {found['id']} asks for {found['total']} cents and not {row.cents}. Put it right at Stripe."
    )


def _fields(contract: str, purchase_order: str) -> dict[str, str]:
    """What the invoice says beside its lines."""
    said = {"Contract": contract}
    if purchase_order:
        said["Purchase order"] = purchase_order
    return said


def invoices_settle() -> int:
    """Note what was paid, and begin the work whose deposit was; how many. Invoices that wait are made."""
    with ops_scope("invoices of orders that are not paid"):
        rows = list(OrderInvoice.ops.filter(paid_at=None).values_list("tenant_id", "pk", "stripe_id"))
        sent = [stripe_id for _tenant, _pk, stripe_id in rows if stripe_id]
        paid = set(Invoice.ops.filter(stripe_id__in=sent, status="paid").values_list("stripe_id", flat=True))
    due = [(tenant, pk) for tenant, pk, stripe_id in rows if stripe_id in paid]
    waiting = {tenant for tenant, _pk, stripe_id in rows if not stripe_id}
    try:  # what was paid is noted first, and no failure here keeps the others' invoices waiting
        return for_each("order_invoices", due, _settle)
    finally:
        for_each("order_invoices_made", waiting, lambda tenant_id: invoices_make(tenant_id=tenant_id))


def _settle(entry: tuple[uuid.UUID, uuid.UUID]) -> int:
    tenant_id, pk = entry
    with tenant_scope(tenant_id):
        row: OrderInvoice = OrderInvoice.objects.select_for_update().get(pk=pk)
        mirror = Invoice.objects.filter(stripe_id=row.stripe_id, status="paid").first()
        if row.paid_at is not None or mirror is None:
            return 0
        # Stripe calls an invoice paid once nothing is left to pay: also an empty one, and one that was credited away.
        if mirror.total < row.cents or mirror.raw.get("pre_payment_credit_notes_amount"):
            OrderInvoice.objects.filter(pk=pk).exclude(problem=NOT_PAID).update(problem=NOT_PAID)
            return 0
        row.paid_at, row.problem = mirror.paid_at or now(), ""
        row.save(update_fields=["paid_at", "problem"])
        order = order_lock(row.contract.order)
        detail = {"kind": row.kind, "cents": row.cents, "number": mirror.number}
        say(order=order, kind="invoice.paid", side=states.SYSTEM, detail=detail)
        audit.record(action="order.paid", target=order, after=detail)
        if row.kind == OrderInvoice.Kind.DEPOSIT and order.state == states.ACCEPTED:
            step(order=order, name="start_work", side=states.SYSTEM, kind="work.started", mail=False)
        return 1
