"""Sign up, trial, upgrade, downgrade, ending; renewals that are refused; calendars."""

from __future__ import annotations

import datetime as dt
from datetime import UTC

from billing.errors import CardRefused
from kit.ids import new_id
from tests.billing.scenarios.scene import DAY, Facts, Scene, fresh, step


@step("sign up", "a customer is made once per tenant", same=True, email="ada@example.com")
def customer_once(scene: Scene) -> Facts:
    tenant, key = str(new_id()), fresh()
    scene.kept["signed"], again = (
        scene.port.customer_create(tenant, email="ada@example.com", name="Ada Works", key=key) for _ in range(2)
    )
    found = scene.port.customer_fetch(again) or {}
    return {"same": again == scene.kept["signed"], "email": found["email"]}


@step("sign up", "checkout opens, and is closed by a second one", status="expired")
def checkout(scene: Scene) -> Facts:
    made = scene.port.checkout_create(
        customer_id=scene.kept["signed"],
        price_id=scene.plan(1900),
        success_url="https://example.com/back?session={CHECKOUT_SESSION_ID}",
        cancel_url="https://example.com/",
        metadata={"tenant_id": "t", "plan": "scene", "plan_version": "1", "command": "first"},
        key=fresh(),
    )
    scene.port.checkouts_expire(scene.kept["signed"], but="second")
    return {"status": scene.port.checkout_fetch(made["id"])["status"]}


@step("sign up", "a paid plan is active", status="active", paid=1900, reason="subscription_create")
def signed_up(scene: Scene) -> Facts:
    customer = scene.customer()
    found = scene.subscription(scene.subscribe(customer, scene.plan(1900)))
    invoice = scene.invoice(customer)
    return {"status": found["status"], "paid": invoice["amount_paid"], "reason": invoice["billing_reason"]}


@step("trial with card", "nothing is charged while it lasts", status="trialing", total=0)
def trial(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer()
    scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.plan(2900), trial_period_days=14)
    found = scene.subscription(scene.kept["sub"])
    return {"status": found["status"], "total": scene.invoice(scene.kept["who"])["total"]}


@step("trial with card", "its end is the first charge", status="active", paid=2900)
def trial_over(scene: Scene) -> Facts:
    scene.advance(scene.start + 14 * DAY + 7200)
    found = scene.subscription(scene.kept["sub"])
    return {"status": found["status"], "paid": scene.invoice(scene.kept["who"])["amount_paid"]}


@step("trial without card", "ends as the plan says", before="trialing", after="canceled", charged=0)
def trial_no_card(scene: Scene) -> Facts:
    customer = scene.customer(None)
    end = {"end_behavior": {"missing_payment_method": "cancel"}}
    made = scene.subscribe(customer, scene.plan(2900), trial_period_days=7, trial_settings=end)
    before = scene.subscription(made)["status"]
    scene.advance(scene.start + 7 * DAY + 7200)
    after = scene.subscription(made)["status"]
    return {"before": before, "after": after, "charged": len(scene.port.charges(customer))}


@step("upgrade", "the preview is what is charged", difference=0, paid=True)
def upgrade(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer()
    made = scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.plan(2000))
    start, end = scene.period(made)
    scene.advance(start + (end - start) // 2)
    scene.kept["big"], item = scene.plan(6000), scene.item(made)
    items = [{"id": item, "price": scene.kept["big"]}]
    shown = scene.port.change_preview(made, items=items)
    scene.port.subscription_change(made, items=items, metadata={"plan": "big"}, key=fresh())
    invoice = scene.invoice(scene.kept["who"])
    return {"difference": invoice["total"] - shown["total"], "paid": invoice["status"] == "paid"}


@step("upgrade", "half a period costs half the difference", total=2000)
def upgrade_half(scene: Scene) -> Facts:
    return {"total": scene.invoice(scene.kept["who"])["total"]}


@step("upgrade", "the next renewal is the new price", total=6000, reason="subscription_cycle")
def upgrade_renewal(scene: Scene) -> Facts:
    scene.next_period(scene.kept["sub"])
    invoice = scene.invoice(scene.kept["who"])
    return {"total": invoice["total"], "reason": invoice["billing_reason"]}


@step("downgrade", "the rest of the old price is credit for the next invoice", due_now=0, credit=-2500, next_due=0)
def downgrade(scene: Scene) -> Facts:
    customer = scene.customer()
    made = scene.subscribe(customer, scene.plan(6000))
    start, end = scene.period(made)
    scene.advance(start + (end - start) // 2)
    small = scene.plan(1000)
    items = [{"id": scene.item(made), "price": small}]
    scene.port.subscription_change(made, items=items, metadata={}, key=fresh())
    now = scene.invoice(customer)["amount_due"]
    credit = scene.v1.customers.retrieve(customer).balance
    scene.next_period(made)
    return {"due_now": now, "credit": credit, "next_due": scene.invoice(customer)["amount_due"]}


@step("upgrade declined", "a refused card leaves everything as it was", refused=True, same=True, status="active")
def upgrade_declined(scene: Scene) -> Facts:
    customer, small = scene.customer(), scene.plan(2000)
    made = scene.subscribe(customer, small)
    scene.card(customer, "pm_card_chargeCustomerFail")
    refused = False
    try:
        items = [{"id": scene.item(made), "price": scene.plan(9000)}]
        scene.port.subscription_change(made, items=items, metadata={}, key=fresh())
    except CardRefused:
        refused = True
    found = scene.subscription(made)
    price = found["items"]["data"][0]["price"]["id"]
    return {"refused": refused, "same": price == small, "status": found["status"]}


@step("ending", "can be taken back until the period is over", ending=True, back=None)
def ending(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer()
    made = scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.plan(2000))
    scene.port.subscription_end(made, at_period_end=True, key=fresh())
    found = scene.subscription(made)
    ends = found["cancel_at"] == found["items"]["data"][0]["current_period_end"]
    scene.port.subscription_end(made, at_period_end=False, key=fresh())
    return {"ending": ends, "back": scene.subscription(made)["cancel_at"]}


@step("ending", "is over with the period, and charges no more", status="canceled", invoices=1)
def ended(scene: Scene) -> Facts:
    scene.port.subscription_end(scene.kept["sub"], at_period_end=True, key=fresh())
    scene.next_period(scene.kept["sub"])
    invoices = scene.port.invoice_ids(scene.kept["who"])
    return {"status": scene.subscription(scene.kept["sub"])["status"], "invoices": len(invoices)}


@step(
    "dunning", "a refused renewal is past due, and tried again", status="past_due", invoice="open", tries=1, more=True
)
def past_due(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer()
    made = scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.plan(2000))
    scene.card(scene.kept["who"], "pm_card_chargeCustomerFail")
    scene.next_period(made)
    invoice = scene.invoice(scene.kept["who"])
    return {
        "status": scene.subscription(made)["status"],
        "invoice": invoice["status"],
        "tries": invoice["attempt_count"],
        "more": bool(invoice["next_payment_attempt"]),
    }


@step("dunning", "paying with another card brings it back at once", status="active", invoice="paid")
def back(scene: Scene) -> Facts:
    card = scene.card(scene.kept["who"], "pm_card_visa")
    invoice = scene.invoice(scene.kept["who"])
    scene.v1.invoices.pay(invoice["id"], {"payment_method": card})
    invoice = scene.invoice(scene.kept["who"])
    return {"status": scene.subscription(scene.kept["sub"])["status"], "invoice": invoice["status"]}


@step("pause", "nothing is charged while it rests", status="paused", invoices=1)
def paused(scene: Scene) -> Facts:
    scene.kept["who"] = scene.customer()
    made = scene.kept["sub"] = scene.subscribe(scene.kept["who"], scene.plan(2000))
    end = scene.period(made)[1]
    scene.v1.subscriptions.pause(made, {"type": "subscription"})
    scene.advance(end + 7200)
    invoices = scene.port.invoice_ids(scene.kept["who"])
    return {"status": scene.subscription(made)["status"], "invoices": len(invoices)}


@step("pause", "going on begins a period that is paid", status="active", invoices=2, paid=2000)
def resumed(scene: Scene) -> Facts:
    scene.v1.subscriptions.resume(scene.kept["sub"], {"billing_cycle_anchor": {"type": "now"}})
    invoices = scene.port.invoice_ids(scene.kept["who"])
    paid = scene.invoice(scene.kept["who"])["amount_paid"]
    return {"status": scene.subscription(scene.kept["sub"])["status"], "invoices": len(invoices), "paid": paid}


@step("seats", "one more in the middle of the period is half its price", waiting=500, next_total=3500)
def seats(scene: Scene) -> Facts:
    customer = scene.customer()
    made = scene.subscribe(customer, scene.plan(1000), items=[{"price": scene.plan(1000), "quantity": 2}])
    start, end = scene.period(made)
    scene.advance(start + (end - start) // 2)
    scene.v1.subscription_items.update(scene.item(made), {"quantity": 3})
    waiting = [item for item in scene.port.invoice_items(customer) if item["invoice"] is None]
    total = sum(item["amount"] for item in waiting)
    scene.next_period(made)
    return {"waiting": total, "next_total": scene.invoice(customer)["total"]}


@step("3-D Secure", "a card that wants its owner leaves it incomplete", status="incomplete", intent="requires_action")
def owner(scene: Scene) -> Facts:
    customer = scene.customer("pm_card_authenticationRequired")
    made = scene.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": scene.plan(2000)}], "expand": ["latest_invoice"]}
    )
    paid = scene.v1.invoice_payments.list({"invoice": made.latest_invoice.id}).data[0].payment.payment_intent
    return {"status": made.status, "intent": scene.v1.payment_intents.retrieve(paid).status}


def _days(scene: Scene, at: dt.datetime, interval: str, times: int) -> list[str]:
    made = scene.subscribe(scene.customer(at=at), scene.plan(1000, interval))
    days = []
    for number in range(times):
        end = scene.period(made)[1]
        days.append(dt.datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d"))
        if number < times - 1:
            scene.advance(end + 7200)
    return days


@step("calendar", "the 31st", days=["2027-02-28", "2027-03-31", "2027-04-30"])
def month_end(scene: Scene) -> Facts:
    return {"days": _days(scene, dt.datetime(2027, 1, 31, 12, tzinfo=UTC), "month", 3)}


@step("leap day", "a year from 29 February", days=["2029-02-28", "2030-02-28"])
def leap_day(scene: Scene) -> Facts:
    return {"days": _days(scene, dt.datetime(2028, 2, 29, 12, tzinfo=UTC), "year", 2)}


@step("price rise", "the next phase holds from the next period on", before=1000, after=1500, status="active")
def price_rise(scene: Scene) -> Facts:
    customer, old, new = scene.customer(), scene.plan(1000), scene.plan(1500)
    made = scene.subscribe(customer, old)
    start, end = scene.period(made)
    schedule = scene.v1.subscription_schedules.create({"from_subscription": made})
    month = {"interval": "month", "interval_count": 1}
    phases = [
        {"items": [{"price": old, "quantity": 1}], "start_date": start, "end_date": end},
        {"items": [{"price": new, "quantity": 1}], "duration": month},
    ]
    scene.v1.subscription_schedules.update(schedule.id, {"phases": phases, "end_behavior": "release"})
    before = scene.invoice(customer)["total"]
    scene.next_period(made)
    status = scene.subscription(made)["status"]
    return {"before": before, "after": scene.invoice(customer)["total"], "status": status}
