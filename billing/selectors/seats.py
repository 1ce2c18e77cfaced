"""How many seats an organisation has, uses and pays for."""

from __future__ import annotations

import dataclasses

from billing.models import Subscription
from billing.plans import Plan, plan_book, standing_given
from billing.selectors.items import interval_of, seats_bought
from billing.selectors.subscriptions import entitlement_now, facts_of, subscription_current
from kit.clock import now
from kit.money import currency
from tenants import selectors


@dataclasses.dataclass(frozen=True, slots=True)
class SeatsNow:
    """The seats of the scope's organisation."""

    plan: Plan
    members: int
    invited: int
    """Open invitations; each holds a seat."""
    bought: int
    room: int
    """Members that there may be: what the plan includes, what was bought, or what was agreed instead."""
    interval: str = "month"
    price_cents: int | None = None
    """Of one more, per interval, in the organisation's currency; None where none can be bought."""
    own: Plan | None = None
    """The plan that is paid for, which sells them: another one than `plan` where staff granted that."""

    @property
    def seller(self) -> Plan:
        """The plan that sells seats, or would."""
        return self.own or self.plan

    @property
    def used(self) -> int:
        """Seats that are taken or held."""
        return self.members + self.invited

    @property
    def included(self) -> int:
        """Members that the plan has room for by itself."""
        return self.plan.limits.members

    @property
    def least(self) -> int:
        """The fewest that must stay bought. None where staff agreed on a number of members: that holds as it is."""
        agreed = self.room != self.included + self.bought
        return 0 if agreed and self.used <= self.room else min(self.bought, max(0, self.used - self.included))


def seats_now() -> SeatsNow:
    """As the mirror has them, in the caller's tenant scope."""
    entitlement, current = entitlement_now(), subscription_current()
    runs = current if current is not None and standing_given(facts_of(current), plan_book(), now()) else None
    own = plan_book().get(runs.plan, runs.plan_version) if runs is not None else None
    interval = interval_of(runs) if runs is not None else "month"
    return SeatsNow(
        plan=plan_book().get(entitlement.plan, entitlement.plan_version),
        members=selectors.members().count(),
        invited=selectors.invitations_open().count(),
        bought=seats_bought(runs) if runs is not None else 0,
        room=entitlement.limits.members,
        interval=interval,
        price_cents=own.seat_price(interval, currency()) if own is not None else None,
        own=own,
    )


def seats_monthly_cents(subscription: Subscription | None) -> int:
    """What a subscription's seats add to a month's invoice, in cents; 0 where they are paid by the year."""
    if subscription is None or interval_of(subscription) != "month":
        return 0
    plan = plan_book().plans.get((subscription.plan, subscription.plan_version))
    each = plan.seat_price("month", currency()) if plan is not None else None
    return (each or 0) * seats_bought(subscription)
