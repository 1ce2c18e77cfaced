"""What a plan lets people do beyond its numbers, and which plan to take for it.

FEATURES is what can be bought: pages show nothing else. A published plan's file never changes, so it may grant more:
`imported_bases` is granted since version 1, and no base model can be imported yet. Nothing promises it, and it takes a
line here on the day it works. `dedicated_machines` are agreed in a contract, by people.
"""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.plans import Plan
from billing.quotas.jobs import Reached, naming
from billing.selectors.subscriptions import entitlement_for, plans_offered
from kit.errors import PermissionDenied
from tenants.scope import current_tenant_id

WEIGHTS = "weights_download"
AUDIT_EXPORT = "audit_export"
PREEMPTIBLE_LANE = "preemptible_lane"
PRIORITY_LANE = "priority_lane"
CUSTOM_ORDERS = "custom_orders"
FEATURES = {
    WEIGHTS: gettext_lazy("Download of weights"),
    PREEMPTIBLE_LANE: gettext_lazy("The preemptible lane at half the price"),
    PRIORITY_LANE: gettext_lazy("The priority lane"),
    AUDIT_EXPORT: gettext_lazy("Audit log as CSV"),
    CUSTOM_ORDERS: gettext_lazy("Custom models made to order"),
}


def feature_granted(feature: str) -> bool:
    """Whether the scope's tenant has it, by plan or by override."""
    return feature in entitlement_for(current_tenant_id()).features


def feature_plan(feature: str) -> Plan:
    """The smallest plan of today that has one of FEATURES."""
    return next(plan for plan in plans_offered() if feature in plan.features)


def feature_needed(feature: str) -> None:
    """PermissionDenied, naming the plan to take, unless the scope's tenant has it."""
    if not feature_granted(feature):
        words = {"feature": FEATURES[feature], "plan": feature_plan(feature).name}
        refused = PermissionDenied(
            _("%(feature)s comes with the %(plan)s plan and larger ones. Take one under Billing.") % words,
            code="not_in_plan",
        )
        raise naming(refused, Reached("plan", 0, 1, 0, "plan"))
