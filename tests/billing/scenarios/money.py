"""Usage, coupons, invoices by mail, refunds, disputes, credit notes, meters, credits, quotes."""

from __future__ import annotations

import datetime as dt
from datetime import UTC
from typing import Any

import stripe

from billing.errors import StripeRefused
from billing.selectors.meters import line_price
from tests.billing.scenarios.scene import Facts, Scene, fresh, step


def _usage(scene: Scene, customer: str, cents: int, key: str, **more: Any) -> str:
    start = dt.datetime.fromtimestamp(scene.start, UTC)
    return scene.port.invoice_item_add(
        customer_id=customer,
        amount_cents=cents,
        currency="usd",
        description="Requests",
        period=(start, start + dt.timedelta(days=1)),
        metadata={"line": key},
        key=key,
        **more,
    )


@step("usage", "a line sent twice is one line", same=True, waiting=1)
def usage_once(scene: Scene) -> Facts:
    scene.kept["who"], key = scene.customer(), fresh()
    scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.plan(2000))
    first, second = (_usage(scene, scene.kept["who"], 350, key) for _ in range(2))
    waiting = [item for item in scene.port.invoice_items(scene.kept["who"]) if item["invoice"] is None]
    return {"same": first == second, "waiting": len(waiting)}


@step("usage", "the renewal has it beside the plan", total=2350, lines=2)
def usage_billed(scene: Scene) -> Facts:
    scene.next_period(scene.kept["sub"])
    invoice = scene.invoice(scene.kept["who"])
    return {"total": invoice["total"], "lines": len(invoice["lines"]["data"])}


def _left_over(scene: Scene, customer: str, subscription: str = "") -> Facts:
    made = scene.port.invoice_create(
        customer_id=customer, by_mail=False, metadata={}, key=fresh(), subscription_id=subscription
    )
    total = (scene.port.invoice_fetch(made) or {})["total"]
    waiting = [item for item in scene.port.items_waiting(customer) if item["metadata"].get("line")]
    return {"total": total, "waiting": len(waiting)}


@step("left over", "usage of a plan that rests is an invoice of its own", total=350, waiting=0)
def left_at_rest(scene: Scene) -> Facts:
    customer = scene.customer()
    made = scene.subscribe(customer, scene.plan(2000))
    _usage(scene, customer, 350, fresh())
    scene.v1.subscriptions.pause(made, {"type": "subscription"})
    return _left_over(scene, customer)


@step("left over", "a line bound to a plan that ended is on the one for that plan", total=350, waiting=0)
def left_at_end(scene: Scene) -> Facts:
    customer = scene.customer()
    made = scene.subscribe(customer, scene.plan(2000))
    _usage(scene, customer, 350, fresh(), subscription_id=made)
    scene.v1.subscriptions.cancel(made)
    return _left_over(scene, customer, made)


@step("coupon", "takes from the plan, never from usage", first=0, second=350)
def coupon(scene: Scene) -> Facts:
    customer, price = scene.customer(), scene.plan(2000)
    off = scene.v1.coupons.create({"percent_off": 100, "duration": "forever"})
    made = scene.subscribe(customer, price, discounts=[{"coupon": off.id}])
    first = scene.invoice(customer)["total"]
    _usage(scene, customer, 350, fresh())
    scene.next_period(made)
    return {"first": first, "second": scene.invoice(customer)["total"]}


@step("net 30", "an invoice of what waits is due in 30 days", status="open", total=5000, days=30)
def by_mail(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer(None)
    _usage(scene, scene.kept["who"], 5000, fresh())
    made = scene.port.invoice_create(customer_id=scene.kept["who"], by_mail=True, metadata={"order": "1"}, key=fresh())
    scene.v1.invoices.finalize_invoice(made)
    invoice = scene.invoice(scene.kept["who"])
    days = round((invoice["due_date"] - scene.start) / 86400)
    return {"status": invoice["status"], "total": invoice["total"], "days": days}


@step("net 30", "a bank transfer is noted", status="paid", charged=0)
def transferred(scene: Scene) -> Facts:
    scene.v1.invoices.pay(scene.invoice(scene.kept["who"])["id"], {"paid_out_of_band": True})
    status = scene.invoice(scene.kept["who"])["status"]
    return {"status": status, "charged": len(scene.port.charges(scene.kept["who"]))}


@step("refund", "a part goes back", refunded=500, refunds=1, status="succeeded")
def refund(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer()
    scene.subscribe(scene.kept["who"], scene.plan(2000))
    charge = scene.kept["charge"] = scene.port.charges(scene.kept["who"])[0]["id"]
    scene.v1.refunds.create({"charge": charge, "amount": 500})
    found = scene.port.refund_ids(charge)
    refund = scene.port.refund_fetch(found[0]) or {}
    seen = scene.port.charges(scene.kept["who"])[0]["amount_refunded"]
    return {"refunded": seen, "refunds": len(found), "status": refund["status"]}


@step("refund", "more than was paid is refused", status=400)
def refund_over(scene: Scene) -> Facts:
    try:
        scene.v1.refunds.create({"charge": scene.kept["charge"], "amount": 1600})
    except stripe.InvalidRequestError as error:
        return {"status": error.http_status}
    return {"status": 200}


@step("credit note", "credits a paid invoice and pays back", amount=700, notes=1, refunded=700)
def credit_note(scene: Scene) -> Facts:
    customer = scene.customer()
    scene.subscribe(customer, scene.plan(2000))
    invoice = scene.invoice(customer)["id"]
    scene.v1.credit_notes.create({"invoice": invoice, "amount": 700, "refund_amount": 700})
    found = scene.port.credit_note_ids(invoice)
    note = scene.port.credit_note_fetch(found[0]) or {}
    back = scene.port.charges(customer)[0]["amount_refunded"]
    return {"amount": note["amount"], "notes": len(found), "refunded": back}


@step("dispute", "the charge says so, and the dispute is found", disputed=True, amount=2000)
def dispute(scene: Scene) -> Facts:
    customer = scene.customer("pm_card_createDispute")
    scene.subscribe(customer, scene.plan(2000))
    charge = scene.port.charges(customer)[0]
    found = scene.port.dispute_fetch(scene.port.dispute_ids(charge["id"])[0]) or {}
    return {"disputed": charge["disputed"], "amount": found["amount"]}


@step("tax", "is on top of the plan", total=2380, tax=380)
def tax(scene: Scene) -> Facts:
    rate = scene.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    customer = scene.customer()
    scene.subscribe(customer, scene.plan(2000), default_tax_rates=[rate.id])
    invoice = scene.invoice(customer)
    return {"total": invoice["total"], "tax": sum(one["amount"] for one in invoice["total_taxes"])}


@step("meter", "an event counts once, whatever is sent again", first=200, again=400)
def meter(scene: Scene) -> Facts:
    name = f"scene_{fresh()[:12]}"
    counted = {"display_name": name, "event_name": name, "default_aggregation": {"formula": "sum"}}
    made = scene.kept["meter"] = scene.v1.billing.meters.create(counted).id
    product = scene.port.product_ensure(name, name="Requests", description="A test")
    usage = {"interval": "month", "usage_type": "metered", "meter": made}
    price = {"product": product, "currency": "usd", "unit_amount_decimal": "0.5", "recurring": usage}
    scene.kept["price"] = scene.v1.prices.create(price).id
    scene.kept["who"] = scene.customer()
    scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.kept["price"])
    payload = {"stripe_customer_id": scene.kept["who"], "value": "4001"}
    event = {"event_name": name, "payload": payload, "identifier": fresh(), "timestamp": scene.start}
    answers = []
    for _ in range(2):
        try:
            scene.v1.billing.meter_events.create(event)
            answers.append(200)
        except stripe.InvalidRequestError as error:
            answers.append(error.http_status or 0)
    return {"first": answers[0], "again": answers[1]}


@step("meter", "the period's end bills it, less the credit", subtotal=2001, credit=1000, total=1001, quantity=4001)
def metered(scene: Scene) -> Facts:
    scene.v1.billing.credit_grants.create(
        {
            "customer": scene.kept["who"],
            "category": "promotional",
            "amount": {"type": "monetary", "monetary": {"value": 1000, "currency": "usd"}},
            "applicability_config": {"scope": {"price_type": "metered"}},
        }
    )
    scene.next_period(scene.kept["sub"])
    invoice = scene.invoice(scene.kept["who"])
    credit = sum(one["amount"] for one in invoice["total_pretax_credit_amounts"])
    quantity = invoice["lines"]["data"][0]["quantity"]
    return {"subtotal": invoice["subtotal"], "credit": credit, "total": invoice["total"], "quantity": quantity}


@step("usage meter", "is made once, with a price of a cent", meters=1, prices=1)
def usage_meter(scene: Scene) -> Facts:
    name = scene.kept["name"] = f"scene_{fresh()[:12]}"
    meters = {scene.port.meter_ensure(name, name="Usage in cents") for _ in range(2)}
    product = scene.port.product_ensure(name, name="Usage", description="A test")
    given = {"lookup_key": name, "product_id": product, "meter_id": next(iter(meters)), "cents": 1}
    prices = {scene.port.meter_price_ensure(**given, currency="usd") for _ in range(2)}
    scene.kept["price"], scene.kept["meter"] = next(iter(prices)), next(iter(meters))
    return {"meters": len(meters), "prices": len(prices)}


@step("usage meter", "goes beside the plan, and takes no place of its own", items=2, charged=2000)
def usage_meter_item(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer()
    scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.plan(2000))
    scene.port.meter_item_add(scene.kept["sub"], price_id=scene.kept["price"], key=fresh())
    items = scene.subscription(scene.kept["sub"])["items"]["data"]
    return {"items": len(items), "charged": scene.invoice(scene.kept["who"])["total"]}


def _tell(scene: Scene, units: int, identifier: str, at: int) -> bool:
    given = {"event_name": scene.kept["name"], "customer_id": scene.kept["who"], "units": units}
    return scene.port.meter_event_send(**given, identifier=identifier, at=at, key=fresh())


@step("usage meter", "takes an hour once, also under another key", told=[True, False], later=True)
def usage_told(scene: Scene) -> Facts:
    first = fresh()
    told = [_tell(scene, 345, first, scene.start + 60) for _ in range(2)]
    return {"told": told, "later": _tell(scene, 7, fresh(), scene.start + 120)}


@step("usage meter", "refuses what is older than 35 days", refused=True)
def usage_too_old(scene: Scene) -> Facts:
    try:
        _tell(scene, 1, fresh(), scene.start - 36 * 86400)
    except StripeRefused:
        return {"refused": True}
    return {"refused": False}


@step("usage meter", "is on the renewal to the cent", total=2352, quantity=352, amount=352)
def usage_renewed(scene: Scene) -> Facts:
    scene.next_period(scene.kept["sub"])
    invoice = scene.invoice(scene.kept["who"])
    line = next(one for one in invoice["lines"]["data"] if line_price(one) == scene.kept["price"])
    return {"total": invoice["total"], "quantity": line["quantity"], "amount": line["amount"]}


def _top_up(scene: Scene, card: str, key: str) -> Any:
    """What an automatic top-up sends: the customer is not there."""
    methods = scene.v1.customers.payment_methods.list(scene.kept["who"]).data
    given = {
        "amount": 2500,
        "currency": "usd",
        "customer": scene.kept["who"],
        "payment_method": next(one.id for one in methods if one.card.last4 == card),
        "off_session": True,
        "confirm": True,
    }
    return scene.v1.payment_intents.create(given, {"idempotency_key": key})


@step("top-up", "is charged once, however often it is sent", status="succeeded", charges=1)
def top_up(scene: Scene) -> Facts:
    scene.kept["who"], key = scene.customer(), fresh()
    first, second = (_top_up(scene, "4242", key) for _ in range(2))
    charges = len(scene.port.charges(scene.kept["who"]))
    return {"status": first.status if first.id == second.id else "twice", "charges": charges}


@step("top-up", "a card that wants its owner is refused while he is away", code="authentication_required", paid=1)
def top_up_away(scene: Scene) -> Facts:
    scene.card(scene.kept["who"], "pm_card_authenticationRequired")
    code = None
    try:
        _top_up(scene, "3184", fresh())
    except stripe.CardError as error:
        code = error.code
    paid = [charge for charge in scene.port.charges(scene.kept["who"]) if charge["paid"]]
    return {"code": code, "paid": len(paid)}


@step("promotion code", "is for a first payment only", first=1000, again=400)
def code_once(scene: Scene) -> Facts:
    customer, price = scene.customer(), scene.plan(2000)
    half = scene.v1.coupons.create({"percent_off": 50, "duration": "once"})
    promotion = {"type": "coupon", "coupon": half.id}
    code = scene.v1.promotion_codes.create(
        {"promotion": promotion, "restrictions": {"first_time_transaction": True}, "max_redemptions": 5}
    )
    scene.subscribe(customer, price, discounts=[{"promotion_code": code.id}])
    first = scene.invoice(customer)["total"]
    try:
        scene.subscribe(customer, scene.plan(3000), discounts=[{"promotion_code": code.id}])
    except stripe.InvalidRequestError as error:
        return {"first": first, "again": error.http_status}
    return {"first": first, "again": 200}


@step("quote", "an accepted one for a one-off sum is an invoice of it", quote="accepted", invoice="draft", total=90000)
def quote(scene: Scene) -> Facts:
    customer = scene.customer(None)
    product = scene.port.product_ensure(f"scene_{fresh()[:12]}", name="A model", description="A test")
    price = scene.v1.prices.create({"product": product, "currency": "usd", "unit_amount": 90000})
    made = scene.v1.quotes.create(
        {
            "customer": customer,
            "line_items": [{"price": price.id, "quantity": 1}],
            "collection_method": "send_invoice",
            "invoice_settings": {"days_until_due": 30},
        }
    )
    scene.v1.quotes.finalize_quote(made.id)
    made = scene.v1.quotes.accept(made.id)
    invoice = scene.port.invoice_fetch(str(made.invoice)) or {}
    return {"quote": made.status, "invoice": invoice["status"], "total": invoice["total"]}
