"""Reading plans, subscriptions, invoices and entitlements."""

import dataclasses
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from billing.errors import PlanUnknown
from billing.models import (
    BillingCustomer,
    EntitlementOverride,
    Invoice,
    Subscription,
    TenantEntitlement,
)
from billing.plans import (
    Entitlement,
    OverrideFacts,
    Plan,
    PlanLimits,
    SubscriptionFacts,
    entitlement_derive,
    plan_book,
)
from billing.selectors.items import interval_of as interval_of
from billing.selectors.items import seats_bought
from kit.clock import now
from tenants.scope import reading

LIVE = ("trialing", "active", "past_due", "unpaid")
"""States in which a subscription is the tenant's plan, paid for or owed."""

RENEWING = ("trialing", "active", "past_due")
"""Of these, those whose next invoice comes by itself."""
PAUSED = "paused"
"""It gives no plan and costs nothing until it is resumed."""


def plans_offered() -> list[Plan]:
    """The plans of today, smallest first."""
    return plan_book().offered()


def plan_named(code: str) -> Plan:
    """The newest version of a plan; PlanUnknown for a code nobody sells."""
    try:
        return plan_book().latest(code)
    except KeyError as error:
        known = ", ".join(plan.code for plan in plan_book().offered())
        raise PlanUnknown(f"No plan is called '{code[:40]}'. Plans: {known}.", param="plan") from error


def entitlement_for(tenant_id: UUID) -> Entitlement:
    """What a tenant may do, as last derived; the free plan until something else was.

    One row by its unique tenant. The answer changes with a message on `services.entitlements.NEWS`.
    """
    with reading(tenant_id):
        row = TenantEntitlement.objects.first()
        return entitlement_now() if row is None else entitlement_of(row)


def entitlement_of(row: TenantEntitlement) -> Entitlement:
    """The stored entitlement as the dataclass."""
    return Entitlement(
        plan=row.plan,
        plan_version=row.plan_version,
        standing=row.standing,
        limits=_limits(row),
        features=frozenset(row.features),
        allowance_nano=row.allowance["usage_nano"],
        subscription=row.subscription,
        until=row.until,
    )


def _limits(row: TenantEntitlement) -> PlanLimits:
    """The stored limits; a limit younger than the row has the plan's value."""
    plans = plan_book()
    base = plans.plans.get((row.plan, row.plan_version), plans.free).limits
    names = {field.name for field in dataclasses.fields(PlanLimits)}
    return base.changed({name: value for name, value in row.limits.items() if name in names})


def entitlement_now() -> Entitlement:
    """Derived from the mirrors and overrides of the scope's tenant, without storing it."""
    return entitlement_derive(
        [facts_of(sub) for sub in Subscription.objects.all()],
        [
            OverrideFacts(
                id=str(override.pk),
                valid_from=override.valid_from,
                valid_until=override.valid_until,
                limits=override.limits,
                features=tuple(override.features),
                plan=override.plan,
                plan_version=override.plan_version,
            )
            for override in EntitlementOverride.objects.filter(revoked_at=None)
        ],
        plan_book(),
        now(),
    )


def facts_of(sub: Subscription) -> SubscriptionFacts:
    """What matters of a mirrored subscription for what its tenant may do."""
    return SubscriptionFacts(
        sub.stripe_id,
        sub.status,
        sub.plan,
        sub.plan_version,
        sub.past_due_since,
        seats=seats_bought(sub),
        collecting=not sub.raw.get("pause_collection"),
    )


def subscription_current() -> Subscription | None:
    """The subscription that is the scope's tenant's plan; None on the free plan."""
    found: Subscription | None = Subscription.objects.filter(status__in=LIVE).order_by("-started_at", "-pk").first()
    return found


def subscription_held() -> Subscription | None:
    """The subscription that the scope's tenant has, running or paused: as long as there is one, no other is sold."""
    held = (*LIVE, PAUSED)
    found: Subscription | None = Subscription.objects.filter(status__in=held).order_by("-started_at", "-pk").first()
    return found


def usage_subscription() -> Subscription | None:
    """The subscription whose next invoice takes a closed month's usage along: one that is paid by the month. None
    where usage needs an invoice of its own: without a subscription, and with one that does not `renew` so."""
    current = subscription_current()
    return current if current is not None and renews(current) else None


def renews(subscription: Subscription) -> bool:
    """Whether its next invoice comes within a month, is sent, and takes usage along: not of a yearly one, one that
    rests, one that is unpaid, for which Stripe only makes drafts, or one in another currency than its organisation's
    usage, which staff made at Stripe."""
    resting = subscription.status not in RENEWING or subscription.raw.get("pause_collection")
    elsewhere = subscription.raw.get("currency") not in (None, subscription.tenant.currency)
    return not resting and not elsewhere and interval_of(subscription) == "month"


def paid_yearly() -> bool:
    """Whether the scope's tenant's plan is on an invoice of its own once a year."""
    current = subscription_current()
    return current is not None and interval_of(current) == "year"


def card_id() -> str:
    """Stripe's id of the card that the subscription is paid with, or the last one was. Checkout keeps it there and not
    with the customer, so an invoice of its own has to name it. Empty where there is none."""
    method = card_method()
    return str(method["id"] if isinstance(method, dict) else method or "")


def card_method() -> Any:
    """The same card as Stripe said it: an object, its id, or nothing."""
    begun = Subscription.objects.exclude(status__in=("incomplete", "incomplete_expired"))
    current = subscription_current() or begun.order_by("-started_at", "-pk").first()
    return current.raw.get("default_payment_method") if current is not None else None


def customer_current() -> BillingCustomer | None:
    """The scope's tenant at Stripe; None before the first checkout."""
    found: BillingCustomer | None = BillingCustomer.objects.first()
    return found


def invoices() -> "QuerySet[Invoice]":
    """The scope's invoices that were issued, newest first."""
    found: QuerySet[Invoice] = Invoice.objects.exclude(status="draft").order_by("-issued_at", "-pk")
    return found


def overrides() -> "QuerySet[EntitlementOverride]":
    """The scope's overrides, newest first, revoked ones included."""
    found: QuerySet[EntitlementOverride] = EntitlementOverride.objects.order_by("-created_at")
    return found
