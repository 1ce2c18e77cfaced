"""The two commands of a top-up: charge an invoice for credit, and end one that was not paid. See `operations`.

A refusal of the bank is an answer and no failure of the command: it says which invoice is open now.
"""

from __future__ import annotations

from billing.errors import StripeMissing, StripeRefused
from billing.ledger.stripe_books import TOPUP
from billing.models import BillingCustomer, StripeCommand, TopUp
from billing.services.entitlements import entitlement_refresh
from billing.services.locks import money_lock
from billing.services.mirror import invoice_mirror
from billing.services.topup_settling import topup_fail, topup_void
from billing.stripe_port import Json, StripePort
from billing.stripe_port.topups import CONFIRM
from kit.money import CENT, currency

GIVEN_UP = "given_up"
"""The status of a purchase that nobody knew the end of for a day: it is ended, and the next look buys anew."""


def topup_of(command: StripeCommand) -> TopUp:
    """The purchase that a command is of."""
    found: TopUp = TopUp.objects.select_related("consent").get(pk=command.params["topup"])
    return found


def charge_request(command: StripeCommand, topup: TopUp, *, customer_id: str, card_id: str) -> Json:
    """What is sent."""
    return {
        "customer_id": customer_id,
        "card_id": card_id,
        "amount_cents": topup.amount_nano // CENT,
        "currency": currency(),
        "description": "Tunesmith credit, topped up",
        "metadata": {"tenant_id": str(command.tenant_id), "purpose": TOPUP, "topup": str(topup.pk)},
    }


def charge_send(port: StripePort, request: Json, key: str) -> Json:
    """Charge; the invoice and how it went."""
    try:
        return port.topup_charge(**request, key=key)
    except (StripeRefused, StripeMissing) as error:
        return {"invoice": "", "status": "", "url": "", "code": "refused", "message": error.message}


def charge_look(port: StripePort, command: StripeCommand) -> Json | None:
    """A day later: what was paid is paid; anything else is ended, for nobody should be charged a day late."""
    request = command.request or {}
    found = port.invoice_marked(request["customer_id"], "topup", command.params["topup"]) if request else None
    if found is None:
        return {"invoice": "", "status": GIVEN_UP, "url": ""}
    status = port.invoice_end(found["id"], key=f"{command.key_now}/end")
    return {"invoice": found["id"], "status": "paid" if status == "paid" else GIVEN_UP, "url": ""}


def charge_apply(command: StripeCommand) -> None:
    """Note it. What was paid is credited from the invoice, as whoever fetches it first finds it."""
    answer, topup = command.answer or {}, topup_of(command)
    if topup.state != TopUp.State.WAITING:
        return  # the webhook was faster
    topup.invoice_id, topup.url = answer["invoice"], answer["url"]
    topup.save(update_fields=["invoice_id", "url"])
    if answer["status"] == GIVEN_UP:
        topup_void(topup)
        return
    code = answer.get("code", "")
    if answer["status"] == "open" and not code:
        return  # nobody said no: the bank is still at it, and the sweep follows the invoice
    if answer["status"] != "paid":
        declined = TopUp.Reason.DECLINED if answer["invoice"] else TopUp.Reason.REFUSED
        topup_fail(topup, reason=TopUp.Reason.CONFIRM if code in CONFIRM else declined, message=answer["message"])


def invoice_follow(command: StripeCommand) -> None:
    """Fetch the invoice at once; where that fails, the webhook does it, or the sweep."""
    customer, invoice_id = BillingCustomer.objects.first(), topup_of(command).invoice_id
    if customer is not None and invoice_id:
        money_lock(customer.tenant_id)
        invoice_mirror(customer, invoice_id)
        entitlement_refresh()


def void_send(port: StripePort, request: Json, key: str) -> Json:
    """See to it that the invoice is not paid any more; what became of it."""
    return {"status": port.invoice_end(request["invoice"], key=key)}


def void_look(port: StripePort, command: StripeCommand) -> Json | None:
    """What became of it, where it cannot be paid any more."""
    invoice_id = (command.request or {}).get("invoice", "")
    found = port.invoice_fetch(invoice_id) if invoice_id else None
    if invoice_id and (found is None or found.get("deleted")):
        return {"status": "deleted"}
    return {"status": found["status"]} if found is not None and found["status"] in ("void", "paid") else None


def void_apply(command: StripeCommand) -> None:
    """Note it; one that was paid first is credited."""
    if (command.answer or {})["status"] != "paid":
        topup_void(topup_of(command))
