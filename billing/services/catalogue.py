"""Pushing the plan files to Stripe: one product per plan, one price per version, found again by lookup key."""

from billing.errors import PlanNotSold
from billing.models import CatalogueEntry
from billing.plans import Plan, plan_book
from billing.stripe_port import stripe_port
from kit.clock import now


def catalogue_push() -> list[CatalogueEntry]:
    """Make sure that every version that is sold online has its price; repeated, it changes nothing."""
    return [price_ensure(plan=plan, ask=True) for plan in plan_book().plans.values() if plan.sold_online]


def price_ensure(*, plan: Plan, ask: bool = False) -> CatalogueEntry:
    """The price of one plan version, pushed now if it never was. `ask`: believe Stripe, not what we noted."""
    if plan.price_cents is None or not plan.sold_online:
        raise PlanNotSold(f"The plan {plan.name} is not sold online. Write to us for an offer.", param="plan")
    entry = CatalogueEntry.objects.filter(plan=plan.code, version=plan.version).first()
    if entry is not None and not ask:
        return entry
    port = stripe_port()
    product_id = port.product_ensure(f"tunesmith_{plan.code}", name=f"Tunesmith {plan.name}", description=plan.summary)
    price_id = port.price_ensure(
        lookup_key=plan.lookup_key,
        product_id=product_id,
        cents=plan.price_cents,
        currency=plan.currency,
        interval=plan.interval,
        metadata={"plan": plan.code, "plan_version": str(plan.version)},
    )
    made, _ = CatalogueEntry.objects.update_or_create(
        plan=plan.code,
        version=plan.version,
        defaults={
            "lookup_key": plan.lookup_key,
            "product_id": product_id,
            "price_id": price_id,
            "pushed_at": now(),
        },
    )
    return made
