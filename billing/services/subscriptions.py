"""Subscribing, changing and leaving a plan. Run in the tenant's scope.

The tenant's plan changes only when Stripe says so: each service that moved something there fetches it again and derives
the entitlement, and the webhook that follows finds nothing left to do.
"""

import dataclasses
import functools
from collections.abc import Callable

from billing.errors import PlanNotSold, StripeMissing, SubscriptionMissing
from billing.models import BillingCustomer, StripeEvent, Subscription
from billing.plans import Entitlement, Plan
from billing.selectors.subscriptions import (
    customer_current,
    entitlement_now,
    interval_of,
    plan_named,
    subscription_current,
    trial_due,
)
from billing.services.catalogue import price_ensure
from billing.services.entitlements import entitlement_refresh
from billing.services.locks import money_lock
from billing.services.mirror import (
    customer_mirror,
    dispute_mirror,
    invoice_mirror,
    line_view,
    refund_mirror,
    subscription_mirror,
)
from billing.stripe_port import Json, stripe_port
from kit.clock import now
from kit.errors import NotFound
from tenants import audit
from tenants.models import Member, Role
from tenants.scope import current_tenant_id
from tenants.selectors import tenant_current


def customer_ensure() -> BillingCustomer:
    """The tenant's customer at Stripe, made at the first need."""
    tenant_id = current_tenant_id()
    money_lock(tenant_id)
    customer = customer_current()
    if customer is not None:
        return customer
    port, tenant = stripe_port(), tenant_current()
    owner = Member.objects.select_related("user").filter(role=Role.OWNER).order_by("created_at").first()
    stripe_id, email = port.customer_create(tenant_id), owner.user.email if owner else ""
    port.customer_describe(stripe_id, email=email, name=tenant.name)
    made: BillingCustomer = BillingCustomer.objects.create(stripe_id=stripe_id, email=email)
    # Events that came before we knew whose they are.
    StripeEvent.objects.filter(customer_id=stripe_id, state=StripeEvent.State.PARKED).update(next_try_at=now())
    return made


def checkout_start(*, plan: str, success_url: str, cancel_url: str, interval: str = "month") -> str:
    """Where the buyer goes to subscribe, with a trial if the plan has one and this is the organisation's first plan.
    `success_url` may hold `{CHECKOUT_SESSION_ID}`, for `checkout_finish`.

    Raises PlanUnknown, or PlanNotSold for a plan without a price or a tenant that already has a subscription.
    """
    wanted = plan_named(plan)
    price = price_ensure(plan=wanted, interval=interval)
    customer = customer_ensure()
    current = subscription_current()
    if current is not None:
        raise PlanNotSold(f"This organisation already has a subscription ({current.plan}). Change its plan instead.")
    port = stripe_port()
    port.checkouts_expire(customer.stripe_id)
    metadata = {"tenant_id": str(current_tenant_id()), "plan": wanted.code, "plan_version": str(wanted.version)}
    trial = trial_due(wanted)
    start = functools.partial(
        port.checkout_create,
        trial_days=trial.days if trial else 0,
        trial_card=trial is None or trial.card,
        customer_id=customer.stripe_id,
        success_url=success_url,
        cancel_url=cancel_url,
        metadata=metadata,
    )
    try:
        session = start(price_id=price.price_id)
    except StripeMissing:
        # The price we noted is of another Stripe account (a key was changed, the emulator was emptied).
        session = start(price_id=price_ensure(plan=wanted, interval=interval, ask=True).price_id)
    audit.record(
        action="checkout.started",
        target=customer,
        after={"plan": wanted.code, "interval": interval, "session": session["id"]},
    )
    return str(session["url"])


@dataclasses.dataclass(frozen=True, slots=True)
class CheckoutOutcome:
    """How a checkout stands: `complete`, `open` or `expired`, and what the tenant may do now."""

    status: str
    entitlement: Entitlement


def checkout_finish(*, session_id: str) -> CheckoutOutcome:
    """The buyer came back: look at once, without waiting for the webhook. NotFound for a session of somebody else."""
    customer = customer_current()
    session = stripe_port().checkout_fetch(session_id) if session_id.startswith("cs_") else None
    if customer is None or session is None or session["customer"] != customer.stripe_id:
        raise NotFound.of(session_id)
    if session.get("subscription"):
        subscription_sync(customer=customer, subscription_id=session["subscription"], invoice_id=session.get("invoice"))
    return CheckoutOutcome(status=session["status"], entitlement=entitlement_now())


def subscription_sync(*, customer: BillingCustomer, subscription_id: str, invoice_id: str | None = None) -> None:
    """Fetch a subscription (and an invoice) under the tenant's lock, and derive what follows."""
    money_lock(customer.tenant_id)
    customer.refresh_from_db()
    row = subscription_mirror(customer, subscription_id)
    latest = invoice_id or (row.raw.get("latest_invoice") if row is not None else None)
    if latest:
        invoice_mirror(customer, latest)
    entitlement_refresh()


def customer_sync(*, customer: BillingCustomer) -> None:
    """Fetch everything of a customer again: the answer to any doubt."""
    money_lock(customer.tenant_id)
    customer.refresh_from_db()
    customer_mirror(customer)
    for subscription_id in stripe_port().subscription_ids(customer.stripe_id):
        subscription_mirror(customer, subscription_id)
    for invoice_id in stripe_port().invoice_ids(customer.stripe_id):
        invoice_mirror(customer, invoice_id)
    for charge in stripe_port().charges(customer.stripe_id):
        for refund_id in stripe_port().refund_ids(charge["id"]) if charge.get("amount_refunded") else []:
            refund_mirror(customer, refund_id)
        for dispute_id in stripe_port().dispute_ids(charge["id"]) if charge.get("disputed") else []:
            dispute_mirror(customer, dispute_id)
    entitlement_refresh()


def portal_start(*, return_url: str) -> str:
    """Where the customer manages card, plan and invoices."""
    return stripe_port().portal_create(customer_id=customer_ensure().stripe_id, return_url=return_url)


def plan_change(*, plan: str, interval: str = "month") -> Entitlement:
    """Move the running subscription to another plan or interval now, prorated; to the free plan, at the end of the
    period.

    CardRefused leaves the tenant on the plan it has.
    """
    wanted, current = plan_named(plan), _current()
    if not wanted.price_cents:
        if wanted.price_cents == 0:
            return subscription_cancel()
        raise PlanNotSold(f"The plan {wanted.name} is not sold online. Write to us for an offer.", param="plan")
    _not_the_same(current, wanted, interval)
    price, customer = price_ensure(plan=wanted, interval=interval), customer_ensure()
    stripe_port().subscription_change(
        current.stripe_id,
        item_id=_item(current),
        price_id=price.price_id,
        metadata={
            "tenant_id": str(current_tenant_id()),
            "plan": wanted.code,
            "plan_version": str(wanted.version),
        },
    )
    subscription_sync(customer=customer, subscription_id=current.stripe_id)
    return entitlement_now()


def plan_preview(*, plan: str, interval: str = "month") -> Callable[[], Json]:
    """How to ask Stripe what moving to another plan or interval would charge now, or credit to the next invoices; no
    transaction need wait for its answer, {"total", "credit", "currency", "lines"}, cents."""
    wanted, current = plan_named(plan), _current()
    _not_the_same(current, wanted, interval)
    price = price_ensure(plan=wanted, interval=interval)
    ask = functools.partial(
        stripe_port().change_preview, current.stripe_id, item_id=_item(current), price_id=price.price_id
    )
    return lambda: _charge(ask())


def _charge(found: Json) -> Json:
    return {
        "total": found["amount_due"],
        "credit": max(0, -found["total"]),
        "currency": found["currency"],
        "lines": [line_view(line) for line in found["lines"]["data"]],
        "at": now(),
    }


def subscription_cancel() -> Entitlement:
    """End with the running period; until then everything stays."""
    return _set_ending(True)


def subscription_keep() -> Entitlement:
    """Take a cancellation back while the period still runs."""
    return _set_ending(False)


def _set_ending(ending: bool) -> Entitlement:
    current, customer = _current(), customer_ensure()
    stripe_port().subscription_cancel(current.stripe_id, at_period_end=ending)
    subscription_sync(customer=customer, subscription_id=current.stripe_id)
    audit.record(action="subscription.ending" if ending else "subscription.kept", target=current)
    return entitlement_now()


def _current() -> Subscription:
    current = subscription_current()
    if current is None:
        raise SubscriptionMissing("This organisation has no subscription. Choose a plan first.")
    return current


def _item(subscription: Subscription) -> str:
    return str(subscription.raw["items"]["data"][0]["id"])


def _not_the_same(current: Subscription, wanted: Plan, interval: str) -> None:
    if (current.plan, current.plan_version, interval_of(current)) == (*wanted.key, interval):
        raise PlanNotSold(f"This organisation already is on the plan {wanted.name}.", param="plan")
