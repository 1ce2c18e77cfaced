"""Deployments that nobody calls: noticed, told of, and stopped where the project wants that."""

import datetime as dt
from collections.abc import Callable, Collection
from uuid import UUID

from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from hooks.catalogue import DEPLOYMENT_IDLE
from hooks.services import event_publish
from kit.clock import now
from kit.errors import BadRequest
from registry import selectors as registry
from serving import services, telling
from serving.models import Deployment, IdleRule, RequestRecord, Rollout
from serving.splits import SHADOW
from tenants import audit
from tenants.models import Project
from tenants.scope import ops_scope, tenant_scope

MOST_DAYS = 365
LOOK_BACK = dt.timedelta(hours=1)
"""Of the request log, each time; who seems idle is looked up since its last call before anything is done."""
BATCH = 500
_waiters: list[Callable[[UUID, Collection[str]], bool]] = []


def hold_deployments(check: Callable[[UUID, Collection[str]], bool]) -> None:
    """Let a room above say whether something of a project still waits to call one of these names: what answers to one
    is not stopped meanwhile, nor is anybody told that nobody calls it."""
    _waiters.append(check)


def rule_of(project_id: UUID) -> IdleRule:
    """The project's rule; nothing happens where none was set."""
    return IdleRule.objects.filter(project_id=project_id).first() or IdleRule(project_id=project_id)


def rule_set(*, project: Project, action: str, days: int) -> IdleRule:
    """Set it."""
    if action not in IdleRule.Action.values:
        raise BadRequest(f"Must be one of {', '.join(IdleRule.Action.values)}.", param="action")
    if not 1 <= days <= MOST_DAYS:
        raise BadRequest(f"Must be 1 to {MOST_DAYS} days.", param="days")
    before = rule_of(project.pk)
    row, _ = IdleRule.objects.update_or_create(
        tenant_id=project.tenant_id, project=project, defaults={"action": action, "days": days}
    )
    audit.record(
        action="idle_rule.set",
        target=row,
        before={"action": str(before.action), "days": before.days},
        after={"action": action, "days": days},
    )
    found: IdleRule = row
    return found


def deployments_idle() -> int:
    """Note when each live deployment was called last, then act on those that nobody calls; how many."""
    with ops_scope("find deployments that nobody calls"):
        _note_calls()
        rules = list(IdleRule.ops.exclude(action=IdleRule.Action.OFF).values_list("tenant_id", "project_id", "days"))
        idle = [
            (tenant_id, pk)
            for tenant_id, project_id, days in rules
            for pk in _idle(Deployment.ops.filter(project_id=project_id), days).values_list("pk", flat=True)[:BATCH]
        ]
    return sum(_act(tenant_id, pk) for tenant_id, pk in idle)


def _note_calls() -> None:
    """From the request log of the last hour; of a deployment of which no call is known, from all of it."""
    answered = RequestRecord.ops.filter(
        tenant_id=OuterRef("tenant_id"), version_id=OuterRef("version_id"), status__lt=400
    ).exclude(arm=SHADOW)
    ever = Subquery(answered.order_by("-at").values("at")[:1])
    lately = Subquery(answered.filter(at__gte=now() - LOOK_BACK).order_by("-at").values("at")[:1])
    live = Deployment.ops.filter(state=Deployment.State.LIVE)
    live.filter(last_called_at=None).alias(last=ever).exclude(last=None).update(last_called_at=ever)
    live.alias(last=lately).filter(last__gt=F("last_called_at")).update(last_called_at=lately)


def _note_last_call(row: Deployment) -> None:
    """Of one deployment since its last known call: ticks may have been away for longer than `LOOK_BACK`."""
    since = row.last_called_at or row.live_at or row.created_at
    answered = RequestRecord.objects.filter(version_id=row.version_id, status__lt=400, at__gt=since)
    last = answered.exclude(arm=SHADOW).order_by("-at").values_list("at", flat=True).first()
    if last is not None:
        Deployment.objects.filter(pk=row.pk).update(last_called_at=last)


def _idle(rows: "QuerySet[Deployment]", days: int) -> "QuerySet[Deployment]":
    """Live for so long, and not called in that time; told of only once, until it is called again."""
    limit = now() - dt.timedelta(days=days)
    uncalled = Q(last_called_at=None) | Q(last_called_at__lt=limit)
    untold = Q(idle_told_at=None) | Q(idle_told_at__lt=Coalesce("last_called_at", "live_at"))
    return rows.filter(uncalled, untold, state=Deployment.State.LIVE, live_at__lt=limit)


def _waited_for(row: Deployment) -> bool:
    """Whether a room above waits to call it, by the model's name or an alias."""
    aliases = [str(alias) for alias in registry.aliases(row.project_id) if alias.version_id == row.version_id]
    return any(waits(row.project_id, [row.model.name, *aliases]) for waits in _waiters)


def _act(tenant_id: UUID, deployment_id: UUID) -> bool:
    """Tell of one, and stop it where the rule says so and no rollout needs it."""
    with tenant_scope(tenant_id):
        rows = Deployment.objects.select_for_update(of=("self",)).select_related("model", "project")
        row = rows.filter(pk=deployment_id).first()
        rule = rule_of(row.project_id) if row is not None else None
        if row is None or rule is None or rule.action == IdleRule.Action.OFF:
            return False
        _note_last_call(row)
        if not _idle(Deployment.objects.filter(pk=row.pk), rule.days).exists() or _waited_for(row):
            return False
        Deployment.objects.filter(pk=row.pk).update(idle_told_at=now())
        running = Rollout.objects.filter(Q(stable=row) | Q(candidate=row), state=Rollout.State.RUNNING)
        if rule.action == IdleRule.Action.STOP and not running.exists():
            row = services.deployment_stop(deployment=row, reason=f"Nobody has called it for {rule.days} days.")
        else:
            services.note(row, row.state, f"Nobody has called it for {rule.days} days.")
        event_publish(project_id=row.project_id, type=DEPLOYMENT_IDLE, data={"id": row.public_id})
        telling.tell_idle(row, rule.days)
        return True
