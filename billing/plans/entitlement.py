"""The one pure function that says what a tenant may do.

Everything that decides access goes through here: pages, gateway, jobs and staff read its result and add nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Any

from billing.plans.files_read import PlanBook
from billing.plans.plan import Plan, PlanLimits

GRACE = dt.timedelta(days=7)
"""How long a plan goes on while a renewal's payment is late."""
GOOD, LATE, RESTRICTED = "good", "grace", "restricted"


@dataclasses.dataclass(frozen=True, slots=True)
class SubscriptionFacts:
    """What matters of one subscription."""

    stripe_id: str
    status: str
    plan: str
    plan_version: int
    past_due_since: dt.datetime | None = None
    seats: int = 0
    """Bought beyond what the plan includes."""
    collecting: bool = True
    """Whether its invoices are collected; one whose collection rests looks active and is not paid for."""


@dataclasses.dataclass(frozen=True, slots=True)
class OverrideFacts:
    """What matters of one override that was not revoked."""

    id: str
    valid_from: dt.datetime
    valid_until: dt.datetime | None = None
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)
    features: tuple[str, ...] = ()
    plan: str = ""
    plan_version: int = 0

    def valid_at(self, moment: dt.datetime) -> bool:
        """Whether it counts at a moment."""
        return self.valid_from <= moment and (self.valid_until is None or moment < self.valid_until)


@dataclasses.dataclass(frozen=True, slots=True)
class Entitlement:
    """What a tenant may do now, and why."""

    plan: str
    plan_version: int
    standing: str
    """`good`, `grace` (a payment is late, the plan goes on) or `restricted` (too late: the free plan's limits)."""
    limits: PlanLimits
    features: frozenset[str]
    allowance_nano: int
    subscription: str = ""
    """Stripe's id of the subscription it rests on; empty without one."""
    until: dt.datetime | None = None
    """When it must be derived again even without news."""


def entitlement_derive(
    subscriptions: Iterable[SubscriptionFacts], overrides: Iterable[OverrideFacts], plans: PlanBook, at: dt.datetime
) -> Entitlement:
    """What a tenant may do at a moment. Same facts, same answer, in whatever order they come.

    The largest plan that is paid for or granted wins. A renewal that is late keeps its plan for `GRACE`, then the
    tenant falls back to the free plan's limits. Overrides change single limits, the newest last.
    """
    facts, given = list(subscriptions), sorted(overrides, key=lambda override: (override.valid_from, override.id))
    valid = [override for override in given if override.valid_at(at)]
    plan, standing, source = _best(facts, valid, plans, at)
    limits, features, allowance = plan.limits, set(plan.features), plan.allowance_nano
    if plan.trial and plan.trial.usage_nano is not None and _on_trial(facts, source):
        allowance = plan.trial.usage_nano
        if not plan.overage:
            limits = limits.changed({"monthly_spend_nano": min(limits.monthly_spend_nano, allowance)})
    if bought := _bought(facts, plans, at):
        limits = limits.changed({"members": limits.members + bought})
    for override in valid:
        limits = limits.changed(override.limits)
        features.update(override.features)
    return Entitlement(
        plan=plan.code,
        plan_version=plan.version,
        standing=standing,
        limits=limits,
        features=frozenset(features),
        allowance_nano=allowance,
        subscription=source,
        until=_until(facts, given, at),
    )


def standing_given(sub: SubscriptionFacts, plans: PlanBook, at: dt.datetime) -> str:
    """What a subscription gives its plan with: `good`, `grace`, or nothing where it gives none."""
    if (sub.plan, sub.plan_version) not in plans.plans or not sub.collecting:
        return ""  # a plan that is a gift is granted, by an override with a reason
    if sub.status in ("active", "trialing"):
        return GOOD
    return LATE if sub.status == "past_due" and at < (sub.past_due_since or at) + GRACE else ""


def _bought(facts: list[SubscriptionFacts], plans: PlanBook, at: dt.datetime) -> int:
    """The seats of the largest plan that is paid for. They are paid beside a granted plan too."""
    given = [
        (plans.get(sub.plan, sub.plan_version).rank, standing == GOOD, sub.stripe_id, sub.seats)
        for sub in facts
        if (standing := standing_given(sub, plans, at))
    ]
    return max(given)[-1] if given else 0


def _on_trial(facts: list[SubscriptionFacts], source: str) -> bool:
    return any(sub.status == "trialing" for sub in facts if source and sub.stripe_id == source)


def _best(
    facts: list[SubscriptionFacts], overrides: list[OverrideFacts], plans: PlanBook, at: dt.datetime
) -> tuple[Plan, str, str]:
    """The plan, the standing, and the subscription it rests on."""
    candidates: list[tuple[int, int, str, Plan, str]] = []
    too_late = False
    for sub in facts:
        if (sub.plan, sub.plan_version) not in plans.plans:
            continue
        plan, standing = plans.get(sub.plan, sub.plan_version), standing_given(sub, plans, at)
        if standing:
            candidates.append((plan.rank, int(standing == GOOD), sub.stripe_id, plan, standing))
        elif sub.collecting and sub.status in ("past_due", "unpaid"):
            too_late = True
    for override in overrides:
        if override.plan and (override.plan, override.plan_version) in plans.plans:
            plan = plans.get(override.plan, override.plan_version)
            candidates.append((plan.rank, 2, "", plan, GOOD))
    if not candidates:
        return plans.free, RESTRICTED if too_late else GOOD, ""
    _, _, source, plan, standing = max(candidates, key=lambda entry: (*entry[:3], entry[3].version))
    return plan, standing, source


def _until(facts: list[SubscriptionFacts], overrides: list[OverrideFacts], at: dt.datetime) -> dt.datetime | None:
    moments = [sub.past_due_since + GRACE for sub in facts if sub.status == "past_due" and sub.past_due_since]
    for override in overrides:
        moments.append(override.valid_from)
        if override.valid_until is not None:
            moments.append(override.valid_until)
    return min((moment for moment in moments if moment > at), default=None)
