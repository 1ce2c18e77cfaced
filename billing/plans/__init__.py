"""What is sold, and what a tenant may therefore do. No Django here.

A plan version is a file that never changes once published; a subscription pins one. `entitlement_derive` is the one
pure function that says what follows from subscriptions, plans and overrides.
"""

from billing.plans.allowance import AllowanceFrom, allowance_of
from billing.plans.entitlement import (
    GRACE,
    Entitlement,
    OverrideFacts,
    SubscriptionFacts,
    entitlement_derive,
    standing_given,
)
from billing.plans.files_read import PlanBook, PlanError, plan_book
from billing.plans.plan import GPU_CLASSES, INTERVALS, Plan, PlanLimits, Rollover, Seats, Trial, classes_within
from billing.plans.promotions import Promotion, promotions

__all__ = [
    "GPU_CLASSES",
    "GRACE",
    "INTERVALS",
    "AllowanceFrom",
    "Entitlement",
    "OverrideFacts",
    "Plan",
    "PlanBook",
    "PlanError",
    "PlanLimits",
    "Promotion",
    "Rollover",
    "Seats",
    "SubscriptionFacts",
    "Trial",
    "allowance_of",
    "classes_within",
    "entitlement_derive",
    "plan_book",
    "promotions",
    "standing_given",
]
