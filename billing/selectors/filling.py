"""Which spend limits of a month fill up, of every scope at once: one sum over the month's hours, and the limits; and
how much of the wallet is used since credit last came."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db.models import Sum

from billing.models import CreditDraw, CreditGrant, MemberLimits, ModelLimits, ProjectLimits, UsageHour
from billing.periods import bounds
from billing.prices import NOT_CALLS
from billing.quotas import LimitSet
from billing.selectors.budgets import THRESHOLDS, WALLET, BudgetState, budget_name
from billing.selectors.limits import tenant_limit_set
from billing.selectors.wallet import balance_nano
from tenants.models import ApiKey
from tenants.scope import current_tenant_id

SPEND = "monthly_spend_nano"


@dataclasses.dataclass(frozen=True, slots=True)
class Filling:
    """A spend limit, what is spent under it, and who it is about: a project, a key's or member's user, a model."""

    scope: str
    scope_id: uuid.UUID
    state: BudgetState
    project_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    label: str = ""
    span: str = ""
    """What the thresholds are of: a month, or the time since a grant of credit."""

    @property
    def mark(self) -> tuple[str, int]:
        """What a threshold is announced once of: a limit that changes begins anew; credit does when more comes."""
        return self.span, 0 if self.scope == WALLET else self.state.cap_nano

    @property
    def name(self) -> str:
        """Its budget's."""
        return budget_name(self.scope, self.scope_id.hex)

    @property
    def reached(self) -> int:
        """The highest threshold it is at, in percent; 0 below the first."""
        return max((one for one in THRESHOLDS if self.state.percent >= one), default=0)


def filling(period: dt.date) -> list[Filling]:
    """Limits of the caller's tenant that are at a threshold in the month of `period`, the tenant's own first. Hours
    that are not summed yet are not in it. A limit of nothing fills up with nothing, and is none of them."""
    span = f"{period:%Y-%m}"
    found = [dataclasses.replace(one, span=span) for one in _limits(_Sums(period))]
    return [one for one in (*found, *_wallet()) if one.state.cap_nano > 0 and one.reached]


def _wallet() -> Iterator[Filling]:
    """Credit, as it was after the last grant."""
    last = CreditGrant.objects.order_by("-created_at", "-pk").first()
    if last is None:
        return
    used = CreditDraw.objects.filter(kind=CreditDraw.Kind.USED, at__gte=last.created_at)
    gone = max(0, int(used.aggregate(n=Sum("amount_nano"))["n"] or 0))
    yield Filling(WALLET, current_tenant_id(), _state(balance_nano() + gone, gone), span=str(last.pk))


def spend_limits(period: dt.date) -> list[Filling]:
    """Every spend limit of the caller's tenant with what a month has spent under it, whether or not anything was. The
    tenant's own comes first."""
    return list(_limits(_Sums(period), idle=True))


class _Sums:
    """nano of a month by what limits are about."""

    def __init__(self, period: dt.date) -> None:
        start, end = bounds(period)
        makers = dict(ApiKey.objects.filter(created_by__isnull=False).values_list("pk", "created_by_id"))
        self.tenant = 0
        self.projects: Counter[uuid.UUID] = Counter()
        self.members: Counter[uuid.UUID] = Counter()
        self.keys: Counter[uuid.UUID] = Counter()
        self.models: Counter[tuple[uuid.UUID, str]] = Counter()
        rows = (
            UsageHour.objects.filter(hour__gte=start, hour__lt=end)
            .order_by()
            .values_list("project_id", "key_id", "model", "kind")
            .annotate(total=Sum("cost_nano"))
        )
        for project_id, key_id, model, kind, total in rows.iterator():
            cost = int(total)
            self.tenant += cost
            self.projects[project_id] += cost
            if kind not in NOT_CALLS:
                self.models[project_id, model] += cost
            if key_id is not None:
                self.keys[key_id] += cost
                if key_id in makers:
                    self.members[makers[key_id]] += cost


def _limits(spent: _Sums, *, idle: bool = False) -> Iterator[Filling]:
    """The limits under which something was spent, or with `idle` all of them."""
    own = tenant_limit_set().spend_nano
    if own is not None:
        yield Filling("tenant", current_tenant_id(), _state(own, spent.tenant))

    def rows(model: Any, **used: Any) -> Any:
        found = model.objects.filter(limits__has_key=SPEND)
        return found if idle else found.filter(**used)

    for project in rows(ProjectLimits, project__in=spent.projects):
        state = _state(_cap(project.limits), spent.projects[project.project_id])
        yield Filling("project", project.project_id, state, project.project_id)
    for member in rows(MemberLimits, user__in=spent.members):
        state = _state(_cap(member.limits), spent.members[member.user_id])
        yield Filling("member", member.user_id, state, user_id=member.user_id)
    for key in rows(ApiKey, pk__in=spent.keys).filter(revoked_at=None):
        state = _state(_cap(key.limits), spent.keys[key.pk])
        yield Filling("key", key.pk, state, key.project_id, key.created_by_id, key.name)
    for model in rows(ModelLimits, project__in=spent.projects):
        state = _state(_cap(model.limits), spent.models[model.project_id, model.model])
        yield Filling("model", model.pk, state, model.project_id, label=model.model)


def _cap(limits: dict[str, object]) -> int:
    return LimitSet.read(limits).spend_nano or 0


def _state(cap_nano: int, spent_nano: int) -> BudgetState:
    return BudgetState(cap_nano, spent_nano, spent_nano)
