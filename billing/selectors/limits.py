"""What the caller's tenant may do, as the quota limits need it. Inside the tenant's scope."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping

from billing.models import MemberLimits, ModelLimits, ProjectLimits, SpendLimit
from billing.plans import PlanLimits
from billing.quotas import CompiledLimits, LimitSet, limits_for
from billing.selectors.subscriptions import entitlement_for
from billing.selectors.wallet import balance_nano, postpaid_nano, slow_nano
from kit.money import HOUSE
from tenants.currency import paid_in
from tenants.models import ApiKey
from tenants.scope import current_tenant_id


@dataclasses.dataclass(frozen=True, slots=True)
class CallerLimits:
    """What every scope of one caller allows; `models` has those models of its project that have limits of their own."""

    tenant_id: uuid.UUID
    tenant: LimitSet
    project_id: uuid.UUID
    project: LimitSet | None = None
    member_id: uuid.UUID | None = None
    member: LimitSet | None = None
    key_id: uuid.UUID | None = None
    key: LimitSet | None = None
    models: Mapping[str, tuple[uuid.UUID, LimitSet]] = dataclasses.field(default_factory=dict)
    currency: str = HOUSE
    """What its money is in."""

    def money(self) -> CallerLimits:
        """The spend limits alone: the lines of a batch wait for each other, not for a minute to pass."""

        def of(limits: LimitSet | None) -> LimitSet | None:
            return limits.money() if limits is not None else None

        return dataclasses.replace(
            self,
            tenant=self.tenant.money(),
            project=of(self.project),
            member=of(self.member),
            key=of(self.key),
            models={name: (pk, limits.money()) for name, (pk, limits) in self.models.items()},
        )

    def compiled(self, model: str = "") -> CompiledLimits:
        """The limits of a call of `model`."""
        model_id, limits = self.models.get(model, (None, None))
        return limits_for(
            tenant_id=self.tenant_id,
            plan=self.tenant,
            project_id=self.project_id,
            project=self.project,
            member_id=self.member_id,
            member=self.member,
            key_id=self.key_id,
            key=self.key,
            model_id=model_id,
            model=limits,
            currency=self.currency,
        )


def caller_limits(
    *,
    project_id: uuid.UUID,
    key_id: uuid.UUID | None = None,
    member_id: uuid.UUID | None = None,
    tenant: LimitSet | None = None,
) -> CallerLimits:
    """The limits of who calls with a key, or without one (the playground, a batch from the console: of the member
    `member_id`). `tenant` spares reading them again."""
    key = ApiKey.objects.filter(pk=key_id).only("limits", "created_by_id").first() if key_id is not None else None
    member_id = key.created_by_id if key is not None else member_id
    return CallerLimits(
        tenant_id=current_tenant_id(),
        tenant=tenant or tenant_limit_set(),
        project_id=project_id,
        project=project_limit_set(project_id),
        member_id=member_id,
        member=_set_or_none(member_limits(member_id)) if member_id is not None else None,
        key_id=key_id,
        key=_set_or_none(key.limits) if key is not None else None,
        models={name: (row.pk, LimitSet.read(row.limits)) for name, row in model_limits_of(project_id).items()},
        currency=paid_in(),
    )


def plan_limit_set() -> LimitSet:
    """Limits of the tenant's entitlement: plan, overrides, standing."""
    return LimitSet.read(dataclasses.asdict(_plan_limits()))


def spend_limit() -> int | None:
    """What the organisation set for itself, nano-USD a month; None when the plan's limit is the only one."""
    found: int | None = SpendLimit.objects.values_list("monthly_nano", flat=True).first()
    return found


def slow_from_percent() -> int | None:
    """The percent of the organisation's spend limit from which on its calls are slowed; None: never."""
    found: int | None = SpendLimit.objects.values_list("slow_from_percent", flat=True).first()
    return found


def tenant_limit_set() -> LimitSet:
    """The limits in force for the whole tenant: its plan's, with its own spend limit where that is lower, and what its
    wallet carries where that is a limit."""
    return tenant_allowance()[0]


def tenant_allowance() -> tuple[LimitSet, int]:
    """The limits in force for the whole tenant, and its weight at a busy engine."""
    limits = _plan_limits()
    plan = LimitSet.read(dataclasses.asdict(limits))
    own, slow = SpendLimit.objects.values_list("monthly_nano", "slow_from_percent").first() or (None, None)
    if own is not None and (plan.spend_nano is None or own < plan.spend_nano):
        plan = dataclasses.replace(plan, spend_nano=own)
    if slow is not None:
        plan = dataclasses.replace(plan, slow_percent=slow)
    on_account = postpaid_nano()
    if on_account is not None:
        funds = max(0, balance_nano() + on_account)
        plan = dataclasses.replace(plan, funds_nano=funds, funds_slow_nano=slow_nano())
    return plan, limits.engine_weight


def project_limits(project_id: uuid.UUID) -> dict[str, int]:
    """A project's own limits by name, as they were set; empty when it has none."""
    row = ProjectLimits.objects.filter(project_id=project_id).only("limits").first()
    return dict(row.limits) if row is not None else {}


def project_limit_set(project_id: uuid.UUID) -> LimitSet | None:
    """A project's own limits; None when it has none."""
    return _set_or_none(project_limits(project_id))


def member_limits(user_id: uuid.UUID) -> dict[str, int]:
    """A member's own limits by name, as they were set; empty when there are none."""
    row = MemberLimits.objects.filter(user_id=user_id).only("limits").first()
    return dict(row.limits) if row is not None else {}


def members_limits() -> dict[uuid.UUID, dict[str, int]]:
    """Own limits of every member that has some, by user."""
    return {row.user_id: dict(row.limits) for row in MemberLimits.objects.all() if row.limits}


def model_limits_of(project_id: uuid.UUID, *, lifted: bool = False) -> dict[str, ModelLimits]:
    """Rows by model; `lifted` has those too whose limits were taken away."""
    rows = ModelLimits.objects.filter(project_id=project_id).order_by("model")
    return {row.model: row for row in rows if row.limits or lifted}


def model_limits_row(limits_id: uuid.UUID) -> ModelLimits | None:
    """One model's limits by the id its counters have."""
    found: ModelLimits | None = ModelLimits.objects.filter(pk=limits_id).first()
    return found


def _set_or_none(limits: Mapping[str, object]) -> LimitSet | None:
    return LimitSet.read(limits) if limits else None


def _plan_limits() -> PlanLimits:
    return entitlement_for(current_tenant_id()).limits
