"""Subscription schedules: not_started -> active -> released | completed | canceled.

A schedule makes its subscription when its first phase begins, and gives it the items of each phase at that one's start.
"""

from __future__ import annotations

from typing import Any

from billing.stripe_emulator.answers import assign, page, unset
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.payment_methods import method_known
from billing.stripe_emulator.nouns.phases import params_of, phase_apply, phases_read, waiting_add
from billing.stripe_emulator.nouns.subscriptions import ENDED, items_of, subscription_end, subscription_make
from billing.stripe_emulator.registry import listens, route, timer
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

KIND = "subscription_schedule"
_PATH = "/v1/subscription_schedules"
_SETTINGS = ("collection_method", "default_payment_method", "description")


@route("POST", _PATH)
def schedule_create(world: World, params: Obj) -> Obj:
    _served(world, params)
    if "from_subscription" in params:
        return _from_subscription(world, params)
    if "customer" not in params:
        raise missing("customer")
    if not params.get("phases"):
        raise missing("phases")
    customer = customer_alive(world, params["customer"], "customer")
    start = params.get("start_date", "now")
    start = world.now if start == "now" else start
    if start < world.now:
        raise StripeError("The local emulator begins a schedule now or later.", param="start_date")
    return schedule_make(world, customer, params, start)


def schedule_make(world: World, customer: Obj, params: Obj, start: int) -> Obj:
    """A schedule of phases from `start` on; it begins at once when that is now."""
    schedule = _blank(world, customer["id"], params)
    schedule["phases"] = phases_read(world, params["phases"], start)
    schedule["status"] = "not_started"
    world.save(schedule, "subscription_schedule.created")
    if start <= world.now:
        _begin(world, schedule)
    return schedule


def _served(world: World, params: Obj) -> None:
    if params.get("pause_schedules") or params.get("end_behavior") in ("none", "renew"):
        raise StripeError("The local emulator knows no pause schedules; a schedule ends by release or cancel.")
    settings = params.get("default_settings") or {}
    method_known(world, settings, "default_settings[default_payment_method]")
    for name in sorted(set(settings) - {*_SETTINGS, "invoice_settings", "billing_cycle_anchor"}):
        raise StripeError(f"The local emulator takes no {name} here.", param=f"default_settings[{name}]")


def _blank(world: World, customer: str, params: Obj) -> Obj:
    schedule = world.new(KIND, "sub_sched", customer=customer, metadata={}, end_behavior="release")
    schedule["billing_mode"] = {"type": "flexible", "flexible": {"proration_discounts": "included"}, "updated_at": None}
    schedule["default_settings"]["invoice_settings"]["issuer"] = {"type": "self"}
    schedule["default_settings"]["collection_method"] = "charge_automatically"
    _settle(schedule, params)
    return schedule


def _settle(schedule: Obj, params: Obj) -> None:
    assign(schedule, params, "metadata", "end_behavior")
    settings = params.get("default_settings") or {}
    assign(schedule["default_settings"], settings, *_SETTINGS)
    invoices = settings.get("invoice_settings") or {}
    schedule["default_settings"]["invoice_settings"] |= {
        name: value for name, value in unset(invoices).items() if name in ("days_until_due", "description", "footer")
    }


def _from_subscription(world: World, params: Obj) -> Obj:
    for name in ("phases", "customer", "start_date"):
        if name in params:
            raise StripeError(f"You can not pass `{name}` together with `from_subscription`.", param=name)
    subscription = world.get("subscription", params["from_subscription"], "from_subscription")
    if subscription["schedule"] or subscription["status"] in ENDED:
        raise wrong_state("This subscription is ended, or has a schedule already.")
    schedule = _blank(world, subscription["customer"], params)
    item = items_of(subscription)[0]
    only: dict[str, Any] = {"items": [], "end_date": item["current_period_end"]}
    for one in items_of(subscription):
        counted = one["price"]["recurring"]["usage_type"] == "metered"
        only["items"].append({"price": one["price"]["id"], **({} if counted else {"quantity": one["quantity"]})})
    schedule["phases"] = phases_read(world, [only], item["current_period_start"])
    if subscription["trial_end"] and subscription["status"] == "trialing":
        schedule["phases"][0]["trial_end"] = subscription["trial_end"]
    schedule.update(status="active", subscription=subscription["id"])
    _now_in(schedule, 0)
    subscription["schedule"] = schedule["id"]
    world.save(schedule, "subscription_schedule.created")
    world.save(subscription, "customer.subscription.updated")
    return schedule


def _now_in(schedule: Obj, index: int) -> None:
    phase = schedule["phases"][index]
    schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}


def _begin(world: World, schedule: Obj) -> None:
    phase, settings = schedule["phases"][0], schedule["default_settings"]
    customer = customer_alive(world, schedule["customer"])
    waiting_add(world, phase, customer["id"])
    terms = {name: settings[name] for name in _SETTINGS if settings[name]}
    if (terms | phase).get("collection_method") == "send_invoice" or terms.get("collection_method") == "send_invoice":
        terms["days_until_due"] = settings["invoice_settings"]["days_until_due"] or 30
    # A refused card leaves the subscription incomplete, and never stops the clock.
    given = {**terms, **params_of(phase), "payment_behavior": "allow_incomplete"}
    try:
        subscription = subscription_make(world, customer, given)
    except StripeError as error:
        if error.code != "resource_missing":
            raise
        subscription = subscription_make(world, customer, {**given, "payment_behavior": "default_incomplete"})
    subscription["schedule"] = schedule["id"]
    world.save(subscription, "customer.subscription.updated")
    schedule.update(status="active", subscription=subscription["id"])
    _now_in(schedule, 0)
    world.save(schedule, "subscription_schedule.updated")


def schedule_due(schedule: Obj) -> int | None:
    """When the schedule must move by itself."""
    if schedule["status"] == "not_started":
        return int(schedule["phases"][0]["start_date"])
    return int(schedule["current_phase"]["end_date"]) if schedule["status"] == "active" else None


@timer(KIND, schedule_due)
def schedule_wake(world: World, schedule: Obj) -> None:
    """Begin, go on to the next phase, or end. What cannot be done any more (a coupon is over) ends the schedule."""
    try:
        with world.savepoint():
            _move(world, schedule)
    except StripeError:
        schedule = world.get(KIND, schedule["id"])
        subscription = world.maybe(schedule["subscription"])
        if subscription is not None:
            subscription["schedule"] = None
            world.save(subscription, "customer.subscription.updated")
        schedule.update(status="canceled", canceled_at=world.now, current_phase=None)
        world.save(schedule, "subscription_schedule.aborted")


def _move(world: World, schedule: Obj) -> None:
    if schedule["status"] == "not_started":
        _begin(world, schedule)
        return
    starts = [phase["start_date"] for phase in schedule["phases"]]
    index = starts.index(schedule["current_phase"]["start_date"]) + 1
    subscription = world.fetch(schedule["subscription"])
    if index < len(schedule["phases"]):
        phase = schedule["phases"][index]
        _now_in(schedule, index)
        world.save(schedule, "subscription_schedule.updated")
        waiting_add(world, phase, schedule["customer"])
        phase_apply(world, subscription, phase, phase["proration_behavior"])
    elif schedule["end_behavior"] == "cancel":
        schedule.update(status="completed", completed_at=world.now, current_phase=None)
        world.save(schedule, "subscription_schedule.completed")
        subscription_end(world, subscription, reason="cancellation_requested")
    else:
        _release(world, schedule)


def _release(world: World, schedule: Obj) -> None:
    subscription = world.maybe(schedule["subscription"])
    schedule.update(
        status="released",
        released_at=world.now,
        released_subscription=schedule["subscription"],
        subscription=None,
        current_phase=None,
    )
    if subscription is not None:
        subscription["schedule"] = None
        world.save(subscription, "customer.subscription.updated")
    world.save(schedule, "subscription_schedule.released")


@listens("customer.subscription.deleted")
def on_subscription_ended(world: World, subscription: Obj) -> None:
    """A schedule ends with its subscription."""
    schedule = world.maybe(subscription["schedule"])
    if schedule is not None and schedule["status"] == "active":
        schedule.update(status="canceled", canceled_at=world.now, current_phase=None)
        world.save(schedule, "subscription_schedule.canceled")


@listens("customer.deleted")
def on_customer_deleted(world: World, customer: Obj) -> None:
    """What has not begun never does."""
    for schedule in world.find(KIND, customer=customer["id"], status="not_started"):
        schedule.update(status="canceled", canceled_at=world.now)
        world.save(schedule, "subscription_schedule.canceled")


def _running(world: World, schedule_id: str, doing: str) -> Obj:
    schedule = world.get(KIND, schedule_id)
    if schedule["status"] not in ("not_started", "active"):
        raise wrong_state(
            f"You cannot {doing} a subscription schedule that is currently in the `{schedule['status']}` status."
        )
    return schedule


@route("POST", _PATH + "/{schedule}")
def schedule_update(world: World, params: Obj, schedule_id: str) -> Obj:
    schedule = _running(world, schedule_id, "update")
    _served(world, params)
    _settle(schedule, params)
    if "phases" in params:
        _phases_change(world, schedule, params)
    return world.save(schedule, "subscription_schedule.updated")


def _phases_change(world: World, schedule: Obj, params: Obj) -> None:
    """New phases, of which one is the present one: it keeps its start, and its items hold at once."""
    given = params["phases"]
    start = given[0].get("start_date") if given else None
    kept = (schedule["current_phase"] or schedule["phases"][0])["start_date"]
    start = world.now if start == "now" else start or kept
    began = schedule["status"] == "active"
    known = [phase["start_date"] for phase in schedule["phases"]]
    if (began and start not in known) or (not began and start < world.now):
        raise StripeError("The first phase must keep its start_date, or begin later.", param="phases[0][start_date]")
    phases = phases_read(world, given, start)
    if not began:
        schedule["phases"] = phases
        return
    index = next((i for i, one in enumerate(phases) if one["start_date"] <= world.now < one["end_date"]), None)
    if index is None:
        raise StripeError("One of the phases must be the present one.", param="phases")
    before = next(one for one in schedule["phases"] if one["start_date"] == schedule["current_phase"]["start_date"])
    schedule["phases"] = phases
    _now_in(schedule, index)
    world.save(schedule)
    if phases[index]["items"] != before["items"]:
        behavior = params.get("proration_behavior", "create_prorations")
        phase_apply(world, world.fetch(schedule["subscription"]), phases[index], behavior)


@route("POST", _PATH + "/{schedule}/release")
def schedule_release(world: World, params: Obj, schedule_id: str) -> Obj:
    schedule = _running(world, schedule_id, "release")
    _release(world, schedule)
    return schedule


@route("POST", _PATH + "/{schedule}/cancel")
def schedule_cancel(world: World, params: Obj, schedule_id: str) -> Obj:
    schedule = _running(world, schedule_id, "cancel")
    schedule.update(status="canceled", canceled_at=world.now, current_phase=None)
    world.save(schedule, "subscription_schedule.canceled")
    subscription = world.maybe(schedule["subscription"])
    if subscription is not None and subscription["status"] not in ENDED:
        subscription_end(world, subscription, reason="cancellation_requested")
    return schedule


@route("GET", _PATH + "/{schedule}")
def schedule_retrieve(world: World, params: Obj, schedule_id: str) -> Obj:
    return world.get(KIND, schedule_id)


@route("GET", _PATH)
def schedule_list(world: World, params: Obj) -> Obj:
    where = {"customer": params.get("customer"), "status": "not_started" if params.get("scheduled") else None}
    return page(world, KIND, params, _PATH, where)
