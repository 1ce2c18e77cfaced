"""Buying and giving back seats: members beyond those that the plan includes. Run in the tenant's scope."""

from __future__ import annotations

from collections.abc import Callable

from billing.models import StripeCommand, Subscription
from billing.selectors.items import interval_of, items_of, seat_item
from billing.selectors.seats import SeatsNow, seats_now
from billing.selectors.subscriptions import subscription_current
from billing.services.catalogue import priced
from billing.services.item_changes import seat_items
from billing.services.subscriptions import change_charge, change_write
from billing.stripe_port import Json, stripe_port
from kit.errors import BadRequest, Conflict
from kit.money import currency
from tenants import audit
from tenants.services.organisations import tenant_turn

MOST = 1_000
"""Seats that can be bought online; for more there is a contract."""


def seats_preview(*, seats: int) -> Callable[[], Json]:
    """How to ask Stripe what so many bought seats would charge now, or credit; no transaction need wait for it. As
    `plan_preview`; refused like `seats_change`."""
    current, now = _change_checked(seats)
    request = _request(current, seats)
    return lambda: change_charge(
        priced(
            plan=now.seller,
            interval=now.interval,
            currency=request["currency"],
            parts=("seat",),
            ask=lambda prices: stripe_port().change_preview(current.stripe_id, items=seat_items(request, prices)),
        )
    )


def seats_change(*, seats: int, at: int | None = None) -> StripeCommand:
    """The command that makes the bought seats so many, prorated from `at` on (a preview's second) and charged at once;
    fewer are credited to the next invoices.

    BadRequest for a number that cannot be; Conflict below the seats in use, on a plan that sells none, while a payment
    is late, or where it is the number that there is. A refused card leaves everything as it was.
    """
    tenant_turn()
    current, now = _change_checked(seats)
    command = change_write("seats_change", current, **_request(current, seats), at=at)
    audit.record(action="seats.changing", target=current, before={"bought": now.bought}, after={"bought": seats})
    return command


def _change_checked(seats: int) -> tuple[Subscription, SeatsNow]:
    now, current = seats_now(), subscription_current()
    if not 0 <= seats <= MOST:
        raise BadRequest(f"Buy from 0 to {MOST:,} seats; for more write to us.", param="seats")
    if current is None or now.price_cents is None:
        raise Conflict(_why_none(now, current))
    if current.status not in ("active", "trialing"):
        raise Conflict("A payment is late. Pay what is open first; then seats can be changed.")
    if seats == now.bought:
        raise Conflict(f"This organisation has {seats} bought seats already.", param="seats")
    if seats < now.least:
        raise Conflict(
            f"{now.used} seats are in use ({now.members} members, {now.invited} open invitations), and the plan "
            f"includes {now.included}: at least {now.least} bought seats must stay. Remove a member or withdraw an "
            "invitation first.",
            param="seats",
        )
    return current, now


def _why_none(now: SeatsNow, current: Subscription | None) -> str:
    if current is None:
        return f"The plan {now.plan.name} has {now.room} seats. Take a plan that sells more under Billing first."
    return (
        f"This version of the plan {now.seller.name} sells no seats by the {now.interval}. Change to the plan as it is "
        "sold today, or to a larger one, under Billing."
    )


def _request(current: Subscription, seats: int) -> Json:
    item = seat_item(items_of(current.raw))
    return {
        "plan": current.plan,
        "plan_version": current.plan_version,
        "interval": interval_of(current),
        "currency": currency(),
        "seat_item": item["id"] if item is not None else "",
        "seats": seats,
    }
