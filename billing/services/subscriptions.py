"""Subscribing, changing and leaving a plan. Run in the tenant's scope.

What is to change at Stripe is written as a command and sent after the commit (`services.commands`). The tenant's plan
changes only when Stripe says so: what a command moved there is fetched again and the entitlement derived, and the
webhook that follows finds nothing left to do.
"""

import dataclasses
from collections.abc import Callable

from billing.errors import ChangePending, PaymentsAway, PlanNotSold, SubscriptionMissing
from billing.models import StripeCommand, Subscription
from billing.plans import Entitlement, Plan
from billing.selectors.items import items_of, plan_item, seat_item, seats_bought
from billing.selectors.meters import dropped_item
from billing.selectors.subscriptions import (
    PAUSED,
    customer_current,
    entitlement_now,
    interval_of,
    plan_named,
    subscription_current,
    subscription_held,
)
from billing.selectors.trials import card_known, trial_due
from billing.services.catalogue import price_sold, priced
from billing.services.commands import command_finish, command_write
from billing.services.item_changes import plan_items, plan_parts
from billing.services.mirror import line_view
from billing.services.promotion_codes import code_cleaned
from billing.services.sync import subscription_sync
from billing.services.trials import trial_begun
from billing.stripe_port import Json, stripe_port
from kit.errors import Conflict, NotFound
from kit.money import currency
from tenants import audit
from tenants.scope import current_tenant_id, tenant_scope

CHANGES = ("plan_change", "seats_change", "plan_end", "plan_pause", "plan_resume")


def customer_write(*, again: bool = False) -> StripeCommand | None:
    """The command that makes the tenant a customer at Stripe, at the first need; None when it is one. `again`: a
    person asks, so it is tried anew where Stripe refused it, or staff gave it up."""
    if customer_current() is not None:
        return None
    return command_write("customer_create", {}, once="customer", again=again, key=f"customer-{current_tenant_id()}")


def checkout_start(
    *, plan: str, success_url: str, cancel_url: str, interval: str = "month", code: str = ""
) -> StripeCommand:
    """The command whose answer's `url` is where the buyer goes to subscribe, with a trial if the plan has one and this
    is the organisation's first plan, and what a promotion `code` takes off. `success_url` may hold
    `{CHECKOUT_SESSION_ID}`, for `checkout_finish`.

    Raises PlanUnknown, or PlanNotSold for a plan without a price in the organisation's currency or a tenant that
    already has a subscription. The command is refused with PromotionRefused for a code that cannot be used for it.
    """
    wanted = plan_named(plan)
    price_sold(wanted, interval, currency())
    current = subscription_held()
    if current is not None:
        raise PlanNotSold(f"This organisation already has a subscription ({current.plan}). Change its plan instead.")
    typed = code_cleaned(code)
    customer_write(again=True)
    trial = trial_due(wanted)
    command = command_write(
        "checkout_create",
        {
            "tenant_id": str(current_tenant_id()),
            "plan": wanted.code,
            "plan_version": wanted.version,
            "interval": interval,
            "trial_days": trial.days if trial else 0,
            "trial_card": trial is None or trial.card,
            "trial_at_end": trial.at_end if trial else "cancel",
            "code": typed,
            "currency": currency(),
            "success_url": success_url,
            "cancel_url": cancel_url,
        },
    )
    audit.record(action="checkout.started", target=command, after={"plan": wanted.code, "interval": interval})
    return command


@dataclasses.dataclass(frozen=True, slots=True)
class CheckoutOutcome:
    """How a checkout stands: `complete`, `open` or `expired`, and what the tenant may do now."""

    status: str
    entitlement: Entitlement
    trial_refused: bool = False
    """There was to be a trial, and there can be none: nothing was charged, and the plan ends at once."""


def checkout_finish(*, session_id: str) -> CheckoutOutcome:
    """The buyer came back: look at once, without waiting for the webhook. NotFound for a session of somebody else."""
    customer = customer_current()
    session = stripe_port().checkout_fetch(session_id) if session_id.startswith("cs_") else None
    if customer is None or session is None or session["customer"] != customer.stripe_id:
        raise NotFound.of(session_id)
    taken = None
    if session.get("subscription"):
        subscription_sync(customer=customer, subscription_id=session["subscription"], invoice_id=session.get("invoice"))
        taken = trial_begun(subscription_id=session["subscription"])
    return CheckoutOutcome(session["status"], entitlement_now(), bool(taken is not None and taken.refused))


def portal_start(*, return_url: str) -> Callable[[], str]:
    """How to get the address where the customer manages card, plan and invoices; no transaction need wait for it.
    It changes nothing, so it is no command."""
    command, tenant_id = customer_write(again=True), current_tenant_id()

    def ask() -> str:
        if command is not None:
            command_finish(command)
        with tenant_scope(tenant_id):
            customer = customer_current()
        if customer is None:
            raise PaymentsAway
        return stripe_port().portal_create(customer_id=customer.stripe_id, return_url=return_url)

    return ask


def plan_change(*, plan: str, interval: str = "month", at: int | None = None) -> StripeCommand:
    """The command that moves the running subscription to another plan or interval now, prorated from `at` on (a
    preview's second); to the free plan, at the end of the period.

    A refused card leaves the tenant on the plan it has. Where the card's owner has to confirm the payment, the answer's
    `confirm_url` is where, and the plan changes once that is done.
    """
    wanted, current = plan_named(plan), _current()
    if not wanted.price_cents:
        if wanted.price_cents == 0:
            return subscription_cancel()
        raise PlanNotSold(f"The plan {wanted.name} is not sold online. Write to us for an offer.", param="plan")
    _may_change(current, wanted, interval)
    return change_write("plan_change", current, **_request(current, wanted, interval), at=at)


def change_write(operation: str, current: Subscription, **more: Json | str | int | bool | None) -> StripeCommand:
    """A command about the running subscription. One that costs money is not added to another that waits."""
    waiting = StripeCommand.objects.filter(operation__in=CHANGES, state=StripeCommand.State.WAITING)
    if operation != "plan_end" and waiting.exists():
        raise ChangePending
    params = {"tenant_id": str(current_tenant_id()), "subscription": current.stripe_id, **more}
    return command_write(operation, params)


def plan_preview(*, plan: str, interval: str = "month") -> Callable[[], Json]:
    """How to ask Stripe what moving to another plan or interval would charge now, or credit to the next invoices; no
    transaction need wait for its answer, {"total", "credit", "currency", "lines", "at"}, cents. With its `at`,
    `plan_change` charges the same."""
    wanted, current = plan_named(plan), _current()
    _may_change(current, wanted, interval)
    request = _request(current, wanted, interval)
    return lambda: change_charge(
        priced(
            plan=wanted,
            interval=interval,
            currency=request["currency"],
            parts=plan_parts(request),
            ask=lambda prices: stripe_port().change_preview(current.stripe_id, items=plan_items(request, prices)),
        )
    )


def change_charge(found: Json) -> Json:
    """What a preview says, as pages show it: see `plan_preview`."""
    prorated = (line for line in found["lines"]["data"] if _is_proration(line))
    return {
        "total": found["amount_due"],
        "credit": max(0, -found["total"]),
        "currency": found["currency"],
        "lines": [line_view(line) for line in found["lines"]["data"]],
        "at": next((line["period"]["start"] for line in prorated), None),
    }


def _is_proration(line: Json) -> bool:
    parent = line.get("parent") or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


def subscription_cancel() -> StripeCommand:
    """The command that ends the plan with the running period; until then everything stays."""
    return _set_ending(True)


def subscription_keep() -> StripeCommand:
    """The command that takes a cancellation back while the period still runs."""
    return _set_ending(False)


def plan_pause() -> StripeCommand:
    """The command that lets the plan rest: nothing is charged and the free plan applies until it is resumed. What is
    left of the paid period is credited to the next invoice. Conflict while a payment is late or the plan ends."""
    current = _current()
    if current.status != "active" or current.cancel_at_period_end:
        raise Conflict("Only a plan that runs and is paid can be paused. Pay what is open, or keep the plan first.")
    audit.record(action="subscription.paused", target=current)
    return change_write("plan_pause", current)


def plan_resume() -> StripeCommand:
    """The command that lets a paused plan run again, with a new period from now on, once that is paid."""
    held = subscription_held()
    if held is None or held.status != PAUSED:
        raise SubscriptionMissing("This organisation has no paused plan.")
    audit.record(action="subscription.resumed", target=held)
    return change_write("plan_resume", held)


def _set_ending(ending: bool) -> StripeCommand:
    current = _current()
    command = change_write("plan_end", current, ending=ending)
    audit.record(action="subscription.ending" if ending else "subscription.kept", target=current)
    return command


def _current() -> Subscription:
    current = subscription_current()
    if current is None:
        raise SubscriptionMissing("This organisation has no subscription. Choose a plan first.")
    return current


def _request(current: Subscription, wanted: Plan, interval: str) -> Json:
    items = items_of(current.raw)
    item, seats = plan_item(items), seat_item(items)
    if item is None:
        raise SubscriptionMissing("This organisation's subscription has no plan. Write to us.")
    return {
        "plan": wanted.code,
        "plan_version": wanted.version,
        "interval": interval,
        "currency": currency(),
        "item": item["id"],
        "seat_item": seats["id"] if seats is not None else "",
        "seats": seats_bought(current),
        "drop": dropped_item(interval),
    }


def _may_change(current: Subscription, wanted: Plan, interval: str) -> None:
    """It is sold, is another one, and what it may cost can be charged: a trial without a card ends at what it includes,
    and must not become a plan that goes on above that with nobody to pay."""
    price_sold(wanted, interval, currency())
    if (current.plan, current.plan_version, interval_of(current)) == (*wanted.key, interval):
        raise PlanNotSold(f"This organisation already is on the plan {wanted.name}.", param="plan")
    needs_card = wanted.trial is None or wanted.trial.card
    if current.status == "trialing" and needs_card and not card_known(current):
        raise Conflict(
            f"This trial has no card, and {wanted.name} needs one. Add a card under Billing first.", param="plan"
        )
