"""What orders ask of Stripe, as operations of billing's outbox: an invoice that is sent by mail, and the news that one
was paid by bank transfer. `orders.apps` adds them to `billing.services.operations.OPERATIONS`.
"""

from typing import Any

from billing.errors import StripeRefused
from billing.models import StripeCommand
from billing.selectors.subscriptions import customer_current
from billing.services.locks import money_lock
from billing.services.mirror import invoice_mirror
from billing.services.operation import NotNeeded, Operation
from billing.services.operations import customer_needed
from billing.stripe_port import Json, StripePort
from kit.clock import now
from kit.money import currency
from orders import states
from orders.models import OrderInvoice, OrderTransfer
from orders.selectors import INVOICE, PAID_OUTSIDE
from orders.services.timeline import say
from tenants import audit

MARK = "order_invoice"
"""In the metadata of an order's invoice at Stripe: our row. The books tell contracts from plans by it."""


def _row(command: StripeCommand) -> OrderInvoice:
    found: OrderInvoice = OrderInvoice.objects.select_related("contract", "contract__order").get(
        pk=command.params["order_invoice"]
    )
    return found


# An invoice


def _invoice_build(command: StripeCommand) -> Json:
    row = _row(command)
    if row.stripe_id:
        raise NotNeeded("The invoice is at Stripe already.")
    contract = row.contract
    fields = {"Contract": contract.number}
    if contract.purchase_order:
        fields["Purchase order"] = contract.purchase_order
    return {
        "customer_id": customer_needed().stripe_id,
        "amount_cents": row.cents,
        "currency": currency(),
        "description": row.description,
        "days": max(contract.net_days, 1),  # with none, as older contracts may say, it were overdue at once
        "fields": fields,
        "metadata": {"order": contract.order.public_id, MARK: str(row.pk)},
    }


def _invoice_send(port: StripePort, request: Json, key: str) -> Json:
    """What an earlier try left there is gone on from; a second invoice is made only where the first is void."""
    begun = port.invoice_marked(request["customer_id"], MARK, request["metadata"][MARK])
    if begun is not None and begun["status"] == "void":
        key, begun = f"{key}-after-{begun['id']}", None
    wanted, asked = request["amount_cents"], begun["subtotal"] if begun is not None else 0
    if begun is not None and asked not in (0, wanted):
        raise StripeRefused(
            f"The invoice {begun['id']} asks for {asked} cents and not {wanted}. Put it right at Stripe, or void it, "
            "and send this again."
        )
    if begun is not None and begun["status"] not in ("draft", "open"):
        if asked:
            return _invoice_answer(begun)
        key, begun = f"{key}-after-{begun['id']}", None  # its line never came; closed like that it asks for nothing
    return _invoice_answer(port.invoice_alone(**request, begun=begun, key=key))


def _invoice_look(port: StripePort, command: StripeCommand) -> Json | None:
    """What is paid or given up was sent, and a void one asks for nothing. Whether an open one was mailed Stripe does
    not tell: it is mailed once more."""
    request = command.request or {}
    found = port.invoice_marked(request["customer_id"], MARK, request["metadata"][MARK]) if request else None
    done = found is not None and found["subtotal"] > 0 and found["status"] not in ("draft", "open", "void")
    return _invoice_answer(found) if found is not None and done else None


def _invoice_answer(found: Json) -> Json:
    return {"id": found["id"], "number": found.get("number") or ""}


def _invoice_apply(command: StripeCommand) -> None:
    row, answer = _row(command), command.answer or {}
    row.stripe_id, row.sent_at, row.problem = answer["id"], now(), ""
    row.save(update_fields=["stripe_id", "sent_at", "problem"])
    detail: dict[str, Any] = {"kind": row.kind, "cents": row.cents, "number": answer["number"]}
    say(order=row.contract.order, kind="invoice.sent", side=states.SYSTEM, detail=detail)
    audit.record(action="order.invoiced", target=row.contract.order, after={**detail, "stripe_id": row.stripe_id})


# Paid by bank transfer


def _outside_build(command: StripeCommand) -> Json:
    return {"invoice": command.params["invoice"]}


def _outside_send(port: StripePort, request: Json, key: str) -> Json:
    return {"id": port.invoice_paid_outside(request["invoice"], key=key)["id"]}


def _outside_look(port: StripePort, command: StripeCommand) -> Json | None:
    """Paid, and not through Stripe."""
    found = port.invoice_fetch(command.params["invoice"])
    done = found is not None and found["status"] == "paid"
    outside = done and found is not None and (found.get("amount_paid_off_stripe") or 0) > 0
    return {"id": command.params["invoice"]} if outside else None


def _outside_apply(command: StripeCommand) -> None:
    row = _row(command)
    made = OrderTransfer.objects.get(invoice=row)
    audit.record(
        action="order.transfer_booked",
        target=row.contract.order,
        after={"reference": made.reference, "cents": made.cents, "stripe_id": row.stripe_id},
    )


def _mirror(command: StripeCommand) -> None:
    """Fetch the invoice, for the page."""
    customer, row = customer_current(), _row(command)
    if customer is not None and row.stripe_id:
        money_lock(customer.tenant_id)
        invoice_mirror(customer, row.stripe_id)


ORDER_OPERATIONS: dict[str, Operation] = {
    INVOICE: Operation(_invoice_build, _invoice_send, _invoice_look, _invoice_apply, after=_mirror),
    PAID_OUTSIDE: Operation(_outside_build, _outside_send, _outside_look, _outside_apply, after=_mirror),
}
