"""`/v1/organization/limits`: which limits a key's calls must pass, and what of the money is used."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from billing import schema
from billing.quotas import Limit, LimitSet, limits_for
from billing.selectors.budgets import BudgetState, budget_month
from billing.selectors.limits import project_limit_set, tenant_limit_set
from billing.selectors.subscriptions import entitlement_for
from kit.money import number
from kit.schema import describe
from tenants.api import TenantAPIView
from tenants.models import ApiKey

SCOPES = {"tenant": "organization", "project": "project", "key": "api_key"}
KINDS = {
    "requests": "requests_per_minute",
    "tokens": "tokens_per_minute",
    "concurrency": "concurrency",
    "spend": "monthly_spend",
}


class LimitsView(TenantAPIView):
    """The limits of the calling key, its project and its organisation. They are changed in the console."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="organization_limits", answers=schema.LIMITS)
    def get(self, request: Request) -> Response:
        """List limits

        Every limit a call of this key is checked against: the organisation's, its project's and its own. The narrowest
        decides. Months are UTC.
        """
        caller = self.caller
        own = ApiKey.objects.filter(pk=caller.key_id).values_list("limits", flat=True).first()
        compiled = limits_for(
            tenant_id=caller.tenant_id,
            plan=tenant_limit_set(),
            project_id=caller.project_id,
            project=project_limit_set(caller.project_id),
            key_id=caller.key_id,
            key=LimitSet.read(own),
        )
        entitlement = entitlement_for(caller.tenant_id)
        months = {
            "tenant": budget_month(),
            "project": budget_month(project_id=caller.project_id),
            "key": budget_month(key_id=caller.key_id) if caller.key_id is not None else None,
        }
        return Response(
            {
                "object": "list",
                "x_plan": {"code": entitlement.plan, "version": entitlement.plan_version},
                "data": [_limit(limit, months.get(limit.scope)) for limit in compiled.limits],
            }
        )


def _limit(limit: Limit, month: BudgetState | None) -> dict[str, Any]:
    found: dict[str, Any] = {"object": "organization.limit", "scope": SCOPES[limit.scope], "kind": KINDS[limit.kind]}
    if limit.kind != "spend":
        return found | {"limit": limit.cap}
    used = {"used_usd": number(month.spent_nano), "x_used_nano": month.spent_nano} if month is not None else {}
    return found | {"limit_usd": number(limit.cap), "x_limit_nano": limit.cap} | used
