"""Invoices of orders: asked for in the transaction that makes them due, sent through billing's outbox
(`services.operations`), and settled by what the mirror says.

Paid is what Stripe calls paid, as long as everything that was credited of it is decided: waived, or asked for again.
"""

import datetime as dt
import uuid

from billing.errors import PaymentsClosed
from billing.models import Invoice, StripeCommand
from billing.services.commands import command_write, commands_send
from billing.services.locks import money_lock
from billing.services.subscriptions import customer_write
from billing.services.sweeps import for_each
from kit.clock import now
from kit.errors import BadRequest, Conflict
from kit.money import CENT, written
from orders import states
from orders.models import Contract, Milestone, Order, OrderInvoice, OrderTransfer
from orders.selectors import INVOICE, PAID_OUTSIDE, credited_cents, left_cents, undecided_cents
from orders.services.timeline import order_lock, say, step
from tenants import audit
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

NOT_PAID = "Nothing is left to pay, but a part was credited. Decide what becomes of it."
WAIVE, AGAIN = "waive", "again"
WAYS = (WAIVE, AGAIN)
"""What becomes of something credited or void: nobody owes it any more, or another invoice asks for it."""
LONGEST_REFERENCE = 140


def invoice_ask(
    *, contract: Contract, kind: str, description: str, cents: int, milestone: Milestone | None = None
) -> OrderInvoice:
    """An invoice that is due now, and the command that sends it, in the caller's transaction, under the money lock."""
    made: OrderInvoice = OrderInvoice.objects.create(
        contract=contract, milestone=milestone, kind=kind, description=description[:300], cents=cents
    )
    _command(made, again=True)
    return made


def _command(row: OrderInvoice, *, tried_at: dt.datetime | None = None, again: bool = False) -> bool:
    """Whether there is a command now; without a key of Stripe's the row waits for one. `again`: somebody's deed
    asks for it, so a customer that Stripe refused, or staff gave up, is tried anew."""
    try:
        customer_write(again=again)
        command_write(
            INVOICE, {"order_invoice": str(row.pk)}, once=str(row.pk), key=f"order-{row.pk}", tried_at=tried_at
        )
    except PaymentsClosed:
        return False
    return True


def invoices_make(*, tenant_id: uuid.UUID) -> int:
    """Send now what waits; how many are at Stripe since. Not inside a scope: each one commits by itself."""
    with tenant_scope(tenant_id):
        waiting = list(OrderInvoice.objects.filter(stripe_id="").order_by("pk").values_list("pk", flat=True))
    _missing(tenant_id)
    commands_send(tenant_id)
    with tenant_scope(tenant_id):
        return int(OrderInvoice.objects.filter(pk__in=waiting).exclude(stripe_id="").count())


def _missing(tenant_id: uuid.UUID) -> int:
    """Write the commands of invoices that have none: those from before the outbox, which may have been tried, and those
    from before there was a key of Stripe's."""
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        rows = list(OrderInvoice.objects.filter(stripe_id="").order_by("pk"))
        known = StripeCommand.objects.filter(operation=INVOICE, once__in=[str(row.pk) for row in rows])
        written = set(known.values_list("once", flat=True))
        return sum(_command(row, tried_at=row.created_at) for row in rows if str(row.pk) not in written)


def invoice_settle(*, invoice: OrderInvoice, way: str, reason: str = "") -> OrderInvoice:
    """Decide what becomes of what was credited of an invoice, or of all that a void one asked for, and is not decided
    yet: `waive` it, and nobody owes it any more, or ask for it `again` by another invoice. Conflict where nothing is to
    decide."""
    money_lock(current_tenant_id())
    order = order_lock(invoice.contract.order)
    row: OrderInvoice = OrderInvoice.objects.select_for_update().get(pk=invoice.pk)
    if way not in WAYS:
        raise BadRequest(f"Name what becomes of it: {', '.join(WAYS)}.", param="way")
    mirror = Invoice.objects.filter(stripe_id=row.stripe_id).first() if row.stripe_id else None
    open_cents = undecided_cents(row, mirror, credited_cents(row))
    if open_cents <= 0:
        raise Conflict(
            "Nothing of this invoice was credited or is void that is not decided. Credit a part of it first."
        )
    if way == WAIVE:
        row.waived_cents += open_cents
    else:
        row.again_cents += open_cents
        contract: Contract = row.contract
        invoice_ask(
            contract=contract,
            kind=OrderInvoice.Kind.REST,
            description=f"Rest of {row.description}",
            cents=open_cents,
            milestone=row.milestone,
        )
    row.problem = ""
    row.save(update_fields=["waived_cents", "again_cents", "problem"])
    detail = {"kind": row.kind, "cents": open_cents, "way": way, "what": row.description}
    say(order=order, kind="invoice.credited", side=states.STAFF, detail=detail)
    audit.record(action="order.credit_settled", target=order, after=detail, reason=reason)
    if way == WAIVE and mirror is not None and mirror.status == "void":
        _begin(order, row)  # any other one is seen once Stripe calls it paid
    return row


def _begin(order: Order, row: OrderInvoice) -> None:
    """Begin the work that waited for this invoice of a deposit: a part of it was paid, or nobody owes it any more. One
    of which nothing was paid, and which another asks for, leaves it to the other."""
    deposit = row.kind == OrderInvoice.Kind.DEPOSIT or (row.kind == OrderInvoice.Kind.REST and row.milestone_id is None)
    paid_cents = row.cents - row.waived_cents - row.again_cents
    if deposit and (paid_cents > 0 or not row.again_cents) and order.state == states.ACCEPTED:
        step(order=order, name="start_work", side=states.SYSTEM, kind="work.started", mail=False)


def transfer_record(
    *, invoice: OrderInvoice, reference: str, cents: int, received_on: dt.date, reason: str = ""
) -> StripeCommand:
    """Note that an invoice was paid by bank transfer; the command that tells Stripe. Once; BadRequest for an amount
    that is not what is open, because Stripe knows no part of one; Conflict unless it is open."""
    money_lock(current_tenant_id())
    order = order_lock(invoice.contract.order)
    row: OrderInvoice = OrderInvoice.objects.select_for_update().get(pk=invoice.pk)
    told = " ".join(reference.split())
    if not 1 <= len(told) <= LONGEST_REFERENCE or not told.isprintable():
        raise BadRequest(
            f"Enter the reference on the bank's statement, at most {LONGEST_REFERENCE} characters.", param="reference"
        )
    if not row.created_at.date() <= received_on <= now().date():
        raise BadRequest("Enter the day on which it came in: from the invoice's day to today.", param="received_on")
    mirror = Invoice.objects.filter(stripe_id=row.stripe_id).first() if row.stripe_id else None
    if mirror is None or mirror.status != "open":
        raise Conflict("The invoice is not open. A payment is recorded once it was sent, and before it is paid.")
    if OrderTransfer.objects.filter(invoice=row).exists():
        raise Conflict("A transfer for this invoice is recorded already.")
    left = left_cents(mirror)
    if cents != left:
        raise BadRequest(
            f"{written(left * CENT)} of the invoice are open, and Stripe can only be told of all. Record exactly that; "
            "if less came in, credit the difference first.",
            param="amount",
        )
    made = OrderTransfer.objects.create(invoice=row, reference=told, cents=cents, received_on=received_on)
    command = command_write(
        PAID_OUTSIDE,
        {"order_invoice": str(row.pk), "invoice": row.stripe_id},
        once=str(row.pk),
        key=f"order-transfer-{made.pk}",
    )
    detail = {"kind": row.kind, "cents": cents, "reference": told, "received_on": received_on.isoformat()}
    say(order=order, kind="invoice.transfer", side=states.STAFF, detail=detail)
    audit.record(action="order.transfer", target=order, after=detail, reason=reason)
    return command


def invoices_settle() -> int:
    """Note what was paid, and begin the work whose deposit was; how many. Commands that are missing are written."""
    with ops_scope("invoices of orders that are not paid"):
        rows = list(OrderInvoice.ops.filter(paid_at=None).values_list("tenant_id", "pk", "stripe_id"))
        sent = [stripe_id for _tenant, _pk, stripe_id in rows if stripe_id]
        paid = set(Invoice.ops.filter(stripe_id__in=sent, status="paid").values_list("stripe_id", flat=True))
        known = set(StripeCommand.ops.filter(operation=INVOICE).values_list("once", flat=True))
    due = [(tenant, pk) for tenant, pk, stripe_id in rows if stripe_id in paid]
    missing = {tenant for tenant, pk, stripe_id in rows if not stripe_id and str(pk) not in known}
    try:  # what was paid is noted first, and no failure here keeps the others' invoices waiting
        return for_each("order_invoices", due, _settle)
    finally:
        for_each("order_invoices_missing", missing, _missing)


def _settle(entry: tuple[uuid.UUID, uuid.UUID]) -> int:
    tenant_id, pk = entry
    with tenant_scope(tenant_id):
        order = order_lock(OrderInvoice.objects.select_related("contract__order").get(pk=pk).contract.order)
        row: OrderInvoice = OrderInvoice.objects.select_for_update().get(pk=pk)
        mirror = Invoice.objects.filter(stripe_id=row.stripe_id, status="paid").first()
        if row.paid_at is not None or mirror is None:
            return 0
        # Stripe calls an invoice paid once nothing is left to pay: also an empty one, and one that was credited away.
        if mirror.total < row.cents or credited_cents(row) > row.waived_cents + row.again_cents:
            OrderInvoice.objects.filter(pk=pk).exclude(problem=NOT_PAID).update(problem=NOT_PAID)
            return 0
        row.paid_at, row.problem = mirror.paid_at or now(), ""
        row.save(update_fields=["paid_at", "problem"])
        detail = {"kind": row.kind, "cents": row.cents - row.waived_cents - row.again_cents, "number": mirror.number}
        say(order=order, kind="invoice.paid", side=states.SYSTEM, detail=detail)
        audit.record(action="order.paid", target=order, after=detail)
        _begin(order, row)
        return 1
