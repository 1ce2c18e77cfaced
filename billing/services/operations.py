"""What can be asked of Stripe, one entry for each kind of command.

`build` and `apply` run in the tenant's scope, in short transactions; `send` and `look` talk to Stripe outside of any.
"""

from collections.abc import Callable

from billing.errors import StripeRefused
from billing.models import BillingCustomer, InvoiceLinePush, StripeCommand, StripeEvent, TopUp
from billing.periods import bounds
from billing.selectors.meters import dropped_item
from billing.selectors.subscriptions import (
    card_id,
    customer_current,
    subscription_held,
    usage_subscription,
)
from billing.selectors.topups import card_shown_id
from billing.services import item_changes, topup_charging
from billing.services.meter_operations import EVENT, ITEM
from billing.services.operation import ASK, DROP, NotNeeded, NotYet, Operation
from billing.services.promotion_codes import code_history, code_id, codes_open
from billing.services.sync import customer_sync, details_sync, subscription_sync
from billing.stripe_port import Json, StripePort
from kit.clock import now
from kit.money import HOUSE, currency
from tenants.models import Member, Role
from tenants.selectors import tenant_current


def _customer() -> BillingCustomer:
    found = customer_current()
    if found is None:
        over = (StripeCommand.State.REFUSED, StripeCommand.State.DROPPED)
        ended = StripeCommand.objects.filter(operation="customer_create", state__in=over).first()
        if ended is not None:
            raise StripeRefused(ended.error or "To make the organisation a customer at Stripe was given up.")
        raise NotYet("The organisation is not at Stripe yet.")
    return found


def customer_needed() -> BillingCustomer:
    """The tenant's customer at Stripe, for operations of rooms above; NotYet before there is one, and StripeRefused
    where Stripe would not have it, or staff gave it up."""
    return _customer()


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


def _details_build(command: StripeCommand) -> Json:
    return {**command.params, "customer_id": _customer().stripe_id}


def _describe_send(port: StripePort, request: Json, key: str) -> Json:
    port.customer_describe(request["customer_id"], name=request["name"], address=request["address"], key=key)
    return {}


def _tax_id_send(port: StripePort, request: Json, key: str) -> Json:
    return {"id": port.tax_id_add(request["customer_id"], kind=request["type"], value=request["value"], key=key)}


def _tax_id_look(port: StripePort, command: StripeCommand) -> Json | None:
    wanted = {name: command.params[name] for name in ("type", "value")}
    for one in port.tax_ids((command.request or {})["customer_id"]):
        if wanted.items() <= one.items():
            return {"id": one["id"]}
    return None


def _tax_id_remove_send(port: StripePort, request: Json, key: str) -> Json:
    port.tax_id_remove(request["customer_id"], request["tax_id"], key=key)
    return {}


def _details_after(command: StripeCommand) -> None:
    customer = customer_current()
    if customer is not None:
        details_sync(customer=customer)


# Checkout


def _checkout_build(command: StripeCommand) -> Json:
    if subscription_held() is not None:
        raise NotNeeded("The organisation has a subscription by now.")
    code = command.params.get("code") or ""
    history = code_history(code) if code else {}
    known = {"codes": codes_open(), "customer_id": _customer().stripe_id, "command": str(command.pk)}
    return {**command.params, **history, **known}


def _checkout_send(port: StripePort, request: Json, key: str) -> Json:
    port.checkouts_expire(request["customer_id"], but=request["command"])
    metadata = {name: str(request[name]) for name in ("tenant_id", "plan", "plan_version", "command")}
    values = {name: request[name] for name in ("customer_id", "success_url", "cancel_url")}
    optional = ("trial_days", "trial_card", "trial_at_end", "codes")
    values |= {name: request[name] for name in optional if name in request}
    _one_currency(port, request)
    if request.get("code"):
        values["promotion_code_id"] = code_id(port, request)
        metadata["promotion"] = request["code"]
    session = item_changes.keyed(
        request,
        key,
        lambda prices, under: port.checkout_create(**values, price_id=prices["plan"], metadata=metadata, key=under),
    )
    return {"id": session["id"], "url": session["url"]}


def _one_currency(port: StripePort, request: Json) -> None:
    """A customer pays in the currency of its first purchase (Stripe's rule), which is its organisation's unless staff
    sold it something else at Stripe: refused here in words that say so."""
    wanted = request.get("currency") or HOUSE
    fixed = (port.customer_fetch(request["customer_id"]) or {}).get("currency") or wanted
    if fixed != wanted:
        raise StripeRefused(
            f"This organisation pays in {fixed.upper()} since its first purchase, and the plan is sold in "
            f"{wanted.upper()}. One customer has one currency; write to us."
        )


def _credit_build(command: StripeCommand) -> Json:
    return {**command.params, "customer_id": _customer().stripe_id, "currency": currency()}


def _credit_send(port: StripePort, request: Json, key: str) -> Json:
    values = {name: request[name] for name in ("customer_id", "amount_cents", "success_url", "cancel_url")}
    values["currency"] = request.get("currency") or HOUSE
    metadata = {name: request[name] for name in ("tenant_id", "purpose")}
    session = port.credit_checkout_create(**values, name="Tunesmith credit", metadata=metadata, key=key)
    return {"id": session["id"], "url": session["url"]}


# Subscriptions


def _sub_build(command: StripeCommand) -> Json:
    current = subscription_held()
    if current is None or current.stripe_id != command.params["subscription"]:
        raise NotNeeded("That subscription has ended.")
    return dict(command.params)


def _plan_build(command: StripeCommand) -> Json:
    """The meter may have come onto the subscription since the change was asked for: what has to leave is known now."""
    return {**_sub_build(command), "drop": dropped_item(item_changes.interval_of(command.params))}


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


def _refuse_send(port: StripePort, request: Json, key: str) -> Json:
    return {"status": port.subscription_cancel(request["subscription"], key=key)["status"]}


def _refuse_look(port: StripePort, command: StripeCommand) -> Json | None:
    found = port.subscription_fetch(command.params["subscription"])
    return {"status": found["status"]} if found is not None and found["status"] == "canceled" else None


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
    push = _push(command)
    begin, end = bounds(push.period)
    return {
        "customer_id": _customer().stripe_id,
        "amount_cents": push.amount_cents,
        "currency": currency(),
        "description": push.description,
        "period": [int(begin.timestamp()), int(end.timestamp())],
        # For no subscription: a line for one that has ended by then would be refused, or wait for good.
        "metadata": {"push": str(push.pk), "period": f"{push.period:%Y-%m}", "line": push.line_key[:500]},
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
    who = {"customer_id": customer.stripe_id, "currency": currency()}
    return {**who, "by_mail": by_mail, "card_id": card, "metadata": metadata}


def _invoice_send(port: StripePort, request: Json, key: str) -> Json:
    """One invoice of our lines that wait, and (of those sent by older versions) one for each subscription they are
    bound to. None where nothing waits: Stripe took it along, or an earlier try of this command did. What is on an
    invoice cannot be put on a second one."""
    bound = sorted({_bound_to(item) for item in _waiting(port, request["customer_id"])})
    made = [port.invoice_create(**request, subscription_id=one, key=f"{key}/{one}" if one else key) for one in bound]
    earlier = None if made else port.invoice_marked(request["customer_id"], "command", request["metadata"]["command"])
    return {"id": made[0] if made else (earlier or {}).get("id", "")}


def _invoice_look(port: StripePort, command: StripeCommand) -> Json | None:
    customer_id = (command.request or {})["customer_id"]
    if _waiting(port, customer_id):
        return None
    found = port.invoice_marked(customer_id, "command", str(command.pk))
    return {"id": found["id"]} if found is not None else None


def _waiting(port: StripePort, customer_id: str) -> list[Json]:
    """Lines of ours that are on no invoice."""
    return [item for item in port.items_waiting(customer_id) if (item.get("metadata") or {}).get("push")]


def _bound_to(item: Json) -> str:
    """The subscription whose invoices alone take a line."""
    parent = (item.get("parent") or {}).get("subscription_details") or {}
    found = parent.get("subscription") or ""
    return str(found["id"] if isinstance(found, dict) else found)


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


# Top-ups


def _topup_build(command: StripeCommand) -> Json:
    topup = topup_charging.topup_of(command)
    if topup.state != TopUp.State.WAITING:
        raise NotNeeded("The purchase was given up.")
    return topup_charging.charge_request(command, topup, customer_id=_customer().stripe_id, card_id=card_shown_id())


def _void_build(command: StripeCommand) -> Json:
    topup = topup_charging.topup_of(command)
    if not topup.invoice_id or topup.state not in (TopUp.State.WAITING, TopUp.State.FAILED):
        raise NotNeeded("There is no invoice that could still be paid.")
    return {"invoice": topup.invoice_id}


OPERATIONS: dict[str, Operation] = {
    "customer_create": Operation(_customer_build, _customer_send, _customer_look, _customer_apply),
    "customer_describe": Operation(_details_build, _describe_send, after=_details_after, shown=True),
    "tax_id_add": Operation(_details_build, _tax_id_send, _tax_id_look, after=_details_after, shown=True),
    "tax_id_remove": Operation(_details_build, _tax_id_remove_send, after=_details_after, shown=True),
    "checkout_create": Operation(_checkout_build, _checkout_send, late=DROP, shown=True),
    "credit_checkout": Operation(_credit_build, _credit_send, late=DROP, shown=True),
    "plan_change": Operation(
        _plan_build, item_changes.plan_send, item_changes.plan_look, after=_sub_after, late=ASK, shown=True
    ),
    "seats_change": Operation(
        _sub_build, item_changes.seats_send, item_changes.seats_look, after=_sub_after, late=ASK, shown=True
    ),
    "trial_refuse": Operation(_sub_build, _refuse_send, _refuse_look, after=_sub_after),
    "plan_end": Operation(_sub_build, _end_send, _end_look, after=_sub_after),
    "plan_pause": Operation(_sub_build, _pause_send, _rest_look(True), after=_sub_after, late=ASK, shown=True),
    "plan_resume": Operation(_sub_build, _resume_send, _rest_look(False), after=_sub_after, late=ASK, shown=True),
    "credit_note_make": Operation(_note_build, _note_send, _note_look, after=_note_after, late=ASK, shown=True),
    "invoice_item": Operation(_item_build, _item_send, _item_look, _item_apply),
    "invoice_make": Operation(_invoice_build, _invoice_send, _invoice_look),
    "topup_charge": Operation(
        _topup_build,
        topup_charging.charge_send,
        topup_charging.charge_look,
        topup_charging.charge_apply,
        topup_charging.invoice_follow,
    ),
    "topup_void": Operation(
        _void_build,
        topup_charging.void_send,
        topup_charging.void_look,
        topup_charging.void_apply,
        topup_charging.invoice_follow,
    ),
    "meter_item": ITEM,
    "meter_event": EVENT,
}
