"""What can be asked of Stripe, one entry for each kind of command.

`build` and `apply` run in the tenant's scope, in short transactions; `send` and `look` talk to Stripe outside of any.
"""

from collections.abc import Callable

from billing.errors import CardRefused, StripeRefused
from billing.models import BillingCustomer, InvoiceLinePush, StripeCommand, StripeEvent
from billing.periods import bounds
from billing.plans import Plan, plan_book
from billing.selectors.meters import dropped_item
from billing.selectors.subscriptions import (
    card_id,
    customer_current,
    plan_of_price,
    subscription_held,
    usage_subscription,
)
from billing.services.catalogue import priced
from billing.services.meter_operations import EVENT, ITEM
from billing.services.operation import ASK, DROP, NotNeeded, NotYet, Operation
from billing.services.sync import customer_sync, subscription_sync
from billing.stripe_port import Json, StripePort
from kit.clock import now
from tenants.models import Member, Role
from tenants.selectors import tenant_current

CONFIRM = "subscription_payment_intent_requires_action"
"""Stripe's word for a card whose owner has to confirm the payment first (3-D Secure)."""


def _customer() -> BillingCustomer:
    found = customer_current()
    if found is None:
        refused = StripeCommand.objects.filter(operation="customer_create", state=StripeCommand.State.REFUSED).first()
        if refused is not None:
            raise StripeRefused(refused.error)
        raise NotYet("The organisation is not at Stripe yet.")
    return found


# Customers


def _customer_build(command: StripeCommand) -> Json:
    owner = Member.objects.select_related("user").filter(role=Role.OWNER).order_by("created_at").first()
    email = owner.user.email if owner else ""
    return {"tenant_id": str(command.tenant_id), "email": email, "name": tenant_current().name}


def _customer_send(port: StripePort, request: Json, key: str) -> Json:
    return {"id": port.customer_create(request["tenant_id"], email=request["email"], name=request["name"], key=key)}


def _customer_look(port: StripePort, command: StripeCommand) -> Json | None:
    for customer in port.customers_since(command.first_sent_at or command.created_at):
        if (customer.get("metadata") or {}).get("tenant_id") == str(command.tenant_id):
            return {"id": customer["id"]}
    return None


def _customer_apply(command: StripeCommand) -> None:
    stripe_id = (command.answer or {})["id"]
    if customer_current() is None:
        BillingCustomer.objects.create(stripe_id=stripe_id, email=(command.request or {}).get("email", ""))
    # Events that came before we knew whose they are.
    StripeEvent.objects.filter(customer_id=stripe_id, state=StripeEvent.State.PARKED).update(next_try_at=now())


# Checkout


def _plan(request: Json) -> Plan:
    return plan_book().get(request["plan"], request["plan_version"])


def _interval(request: Json) -> str:
    """How often it is to be paid; commands older than the choice are by the month."""
    return str(request.get("interval") or "month")


def _checkout_build(command: StripeCommand) -> Json:
    if subscription_held() is not None:
        raise NotNeeded("The organisation has a subscription by now.")
    return {**command.params, "customer_id": _customer().stripe_id, "command": str(command.pk)}


def _checkout_send(port: StripePort, request: Json, key: str) -> Json:
    port.checkouts_expire(request["customer_id"], but=request["command"])
    metadata = {name: str(request[name]) for name in ("tenant_id", "plan", "plan_version", "command")}
    values = {name: request[name] for name in ("customer_id", "success_url", "cancel_url")}
    values |= {name: request[name] for name in ("trial_days", "trial_card") if name in request}
    session = _priced(
        request,
        key,
        lambda price_id, under: port.checkout_create(**values, price_id=price_id, metadata=metadata, key=under),
    )
    return {"id": session["id"], "url": session["url"]}


def _credit_build(command: StripeCommand) -> Json:
    return {**command.params, "customer_id": _customer().stripe_id}


def _credit_send(port: StripePort, request: Json, key: str) -> Json:
    values = {name: request[name] for name in ("customer_id", "amount_cents", "success_url", "cancel_url")}
    metadata = {name: request[name] for name in ("tenant_id", "purpose")}
    session = port.credit_checkout_create(**values, name="Tunesmith credit", metadata=metadata, key=key)
    return {"id": session["id"], "url": session["url"]}


def _priced(request: Json, key: str, send: Callable[[str, str], Json]) -> Json:
    """Send something about a plan's price, which the key names: it is the one thing that may differ another time."""
    return priced(
        plan=_plan(request), interval=_interval(request), ask=lambda price_id: send(price_id, f"{key}/{price_id}")
    )


# Subscriptions


def _sub_build(command: StripeCommand) -> Json:
    current = subscription_held()
    if current is None or current.stripe_id != command.params["subscription"]:
        raise NotNeeded("That subscription has ended.")
    return dict(command.params)


def _change_build(command: StripeCommand) -> Json:
    request = _sub_build(command)
    return request | {"drop": dropped_item(_interval(request))}


def _change_send(port: StripePort, request: Json, key: str) -> Json:
    metadata = {name: str(request[name]) for name in ("tenant_id", "plan", "plan_version")}

    def send(price_id: str, under: str) -> Json:
        values = {"item_id": request["item"], "price_id": price_id, "metadata": metadata, "at": request.get("at")}
        values |= {"drop": request["drop"]} if request.get("drop") else {}
        try:
            return port.subscription_change(request["subscription"], **values, key=under)
        except CardRefused as error:
            if error.code != CONFIRM:
                raise
        return port.subscription_change(request["subscription"], **values, waiting=True, key=f"{under}/confirm")

    return _change_answer(_priced(request, key, send))


def _change_answer(found: Json) -> Json:
    """Where the payment waits for its owner, the page to confirm it on."""
    latest = found.get("latest_invoice")
    url = latest.get("hosted_invoice_url") if found.get("pending_update") and isinstance(latest, dict) else ""
    return {"subscription": found["id"], "confirm_url": url or ""}


def _change_look(port: StripePort, command: StripeCommand) -> Json | None:
    request = command.request or command.params
    found = port.subscription_fetch(request["subscription"])
    if found is None:
        return None
    waiting = found.get("pending_update") or {}
    items = [*found["items"]["data"], *(waiting.get("subscription_items") or [])]
    wanted = (request["plan"], request["plan_version"], _interval(request))
    return _change_answer(found) if any(_sold_as(item["price"]) == wanted for item in items) else None


def _sold_as(price: Json) -> tuple[str, int, str]:
    return (*plan_of_price(price), (price.get("recurring") or {}).get("interval") or "month")


def _sub_after(command: StripeCommand) -> None:
    customer = customer_current()
    if customer is not None:
        subscription_sync(customer=customer, subscription_id=command.params["subscription"])


def _end_send(port: StripePort, request: Json, key: str) -> Json:
    found = port.subscription_end(request["subscription"], at_period_end=request["ending"], key=key)
    return {"ending": found["cancel_at_period_end"]}


def _end_look(port: StripePort, command: StripeCommand) -> Json | None:
    found = port.subscription_fetch(command.params["subscription"])
    done = found is not None and found["cancel_at_period_end"] == command.params["ending"]
    return {"ending": command.params["ending"]} if done else None


def _pause_send(port: StripePort, request: Json, key: str) -> Json:
    return {"status": port.subscription_pause(request["subscription"], key=key)["status"]}


def _resume_send(port: StripePort, request: Json, key: str) -> Json:
    found = port.subscription_resume(request["subscription"], key=key)
    latest = found.get("latest_invoice")
    url = latest.get("hosted_invoice_url") if found["status"] == "paused" and isinstance(latest, dict) else ""
    return {"status": found["status"], "confirm_url": url or ""}


def _rest_look(paused: bool) -> Callable[[StripePort, StripeCommand], Json | None]:
    def look(port: StripePort, command: StripeCommand) -> Json | None:
        found = port.subscription_fetch(command.params["subscription"])
        done = found is not None and (found["status"] == "paused") == paused
        return {"status": found["status"]} if done and found is not None else None

    return look


# Invoices


def _push(command: StripeCommand) -> InvoiceLinePush:
    push: InvoiceLinePush = InvoiceLinePush.objects.get(pk=command.params["push"])
    return push


def _item_build(command: StripeCommand) -> Json:
    push, subscription = _push(command), usage_subscription()
    begin, end = bounds(push.period)
    return {
        "customer_id": _customer().stripe_id,
        "amount_cents": push.amount_cents,
        "currency": "usd",
        "description": push.description,
        "period": [int(begin.timestamp()), int(end.timestamp())],
        "metadata": {"push": str(push.pk), "period": f"{push.period:%Y-%m}", "line": push.line_key[:500]},
        "subscription_id": subscription.stripe_id if subscription is not None else "",
    }


def _item_send(port: StripePort, request: Json, key: str) -> Json:
    return {"id": port.invoice_item_add(**request, key=key)}


def _item_look(port: StripePort, command: StripeCommand) -> Json | None:
    for item in port.invoice_items((command.request or {})["customer_id"]):
        if (item.get("metadata") or {}).get("push") == command.params["push"]:
            return {"id": item["id"]}
    return None


def _item_apply(command: StripeCommand) -> None:
    InvoiceLinePush.objects.filter(pk=command.params["push"]).update(
        stripe_item_id=(command.answer or {})["id"], sent_at=now()
    )


def _invoice_build(command: StripeCommand) -> Json:
    if usage_subscription() is not None:
        raise NotNeeded("The lines go on the subscription's next invoice.")
    customer = _customer()
    metadata = {"period": command.params["period"], "command": str(command.pk)}
    card = card_id()
    by_mail = not card and customer.card is None
    return {"customer_id": customer.stripe_id, "by_mail": by_mail, "card_id": card, "metadata": metadata}


def _invoice_send(port: StripePort, request: Json, key: str) -> Json:
    return {"id": port.invoice_create(**request, key=key)}


def _invoice_look(port: StripePort, command: StripeCommand) -> Json | None:
    for invoice in port.customer_invoices((command.request or {})["customer_id"]):
        if (invoice.get("metadata") or {}).get("command") == str(command.pk):
            return {"id": invoice["id"]}
    return None


def _note_build(command: StripeCommand) -> Json:
    return {**command.params, "command": str(command.pk)}


def _note_send(port: StripePort, request: Json, key: str) -> Json:
    found = port.credit_note_make(
        request["invoice"],
        amount=request["amount"],
        to=request["to"],
        memo=request["memo"],
        metadata={"command": request["command"]},
        key=key,
    )
    return {"id": found["id"], "number": found.get("number") or ""}


def _note_look(port: StripePort, command: StripeCommand) -> Json | None:
    for note_id in port.credit_note_ids(command.params["invoice"]):
        found = port.credit_note_fetch(note_id) or {}
        if (found.get("metadata") or {}).get("command") == str(command.pk):
            return {"id": found["id"], "number": found.get("number") or ""}
    return None


def _note_after(command: StripeCommand) -> None:
    customer = customer_current()
    if customer is not None:
        customer_sync(customer=customer)


OPERATIONS: dict[str, Operation] = {
    "customer_create": Operation(_customer_build, _customer_send, _customer_look, _customer_apply),
    "checkout_create": Operation(_checkout_build, _checkout_send, late=DROP, shown=True),
    "credit_checkout": Operation(_credit_build, _credit_send, late=DROP, shown=True),
    "plan_change": Operation(_change_build, _change_send, _change_look, after=_sub_after, late=ASK, shown=True),
    "plan_end": Operation(_sub_build, _end_send, _end_look, after=_sub_after),
    "plan_pause": Operation(_sub_build, _pause_send, _rest_look(True), after=_sub_after, late=ASK, shown=True),
    "plan_resume": Operation(_sub_build, _resume_send, _rest_look(False), after=_sub_after, late=ASK, shown=True),
    "credit_note_make": Operation(_note_build, _note_send, _note_look, after=_note_after, late=ASK, shown=True),
    "invoice_item": Operation(_item_build, _item_send, _item_look, _item_apply),
    "invoice_make": Operation(_invoice_build, _invoice_send, _invoice_look),
    "meter_item": ITEM,
    "meter_event": EVENT,
}
