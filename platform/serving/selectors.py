"""Reading deployments of the scope's tenant."""

import datetime as dt
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from inference.wire import HealthReport
from kit.errors import NotFound
from kit.ids import parse_id
from registry import selectors as registry
from serving import engines, pools
from serving.models import Deployment, DeploymentEvent, Replica, RequestRecord, Rollout, RolloutEvent
from serving.splits import SHADOW

ACTIVE = pools.ACTIVE


def deployments(project_id: UUID) -> "QuerySet[Deployment]":
    """A project's deployments, newest first."""
    found: QuerySet[Deployment] = (
        Deployment.objects.filter(project_id=project_id).select_related("model", "version", "dedicated").order_by("-pk")
    )
    return found


def deployment_by_id(project_id: UUID, public_id: str) -> Deployment:
    """One deployment of a project; NotFound for anybody else's."""
    found = deployments(project_id).filter(pk=parse_id(Deployment.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def deployment_of_model(model_id: UUID) -> Deployment | None:
    """What answers to a model's own name: of its versions that are live the one that has been for longest, else one
    that is loading. So a second version takes no call away by being deployed."""
    active = Deployment.objects.filter(model_id=model_id, state__in=ACTIVE).select_related("model", "version")
    found: Deployment | None = active.order_by(F("live_at").asc(nulls_last=True), "pk").first()
    return found


def names_called(project_id: UUID, rows: Iterable[Deployment]) -> dict[UUID, str]:
    """What a caller says to get the answers of each: an alias that stands for its version and has no rollout, else the
    model's own name where that stands for it. Empty where nothing does."""
    rows = list(rows)
    rolling = set(
        Rollout.objects.filter(project_id=project_id, state=Rollout.State.RUNNING).values_list("alias", flat=True)
    )
    named: dict[UUID, list[str]] = {}
    for alias in registry.aliases(project_id):
        if str(alias) not in rolling:
            named.setdefault(alias.version_id, []).append(str(alias))
    first: dict[UUID, UUID] = {}
    active = Deployment.objects.filter(model_id__in={row.model_id for row in rows}, state__in=ACTIVE)
    for model_id, pk in active.order_by(F("live_at").asc(nulls_last=True), "pk").values_list("model_id", "pk"):
        first.setdefault(model_id, pk)
    return {
        row.pk: _called(row, named.get(row.version_id, []), first.get(row.model_id, row.pk) == row.pk) for row in rows
    }


def _called(row: Deployment, aliases: list[str], is_named: bool) -> str:
    """`is_named`: whether the model's own name stands for it."""
    if row.alias in aliases or (row.alias and row.state == Deployment.State.LOADING):  # it moves when that is live
        return row.alias
    own = row.model.name if is_named else ""
    return aliases[0] if aliases else own


def calls_since(deployment: Deployment, moment: dt.datetime) -> int:
    """Calls that its version answered since then."""
    answered = RequestRecord.objects.filter(
        project_id=deployment.project_id, version_id=deployment.version_id, at__gte=moment, status__lt=400
    )
    return answered.exclude(arm=SHADOW).count()


def deployment_of_version(version_id: UUID) -> Deployment | None:
    """The deployment of a version that is loading or live."""
    found: Deployment | None = Deployment.objects.filter(version_id=version_id, state__in=ACTIVE).first()
    return found


def wish_of(deployment: Deployment) -> pools.Wish | None:
    """The engines of its own that were asked for; None for a deployment that the shared ones serve."""
    if not hasattr(deployment, "dedicated"):
        return None
    own = deployment.dedicated
    return pools.Wish(own.replicas_min, own.replicas_max, own.idle_seconds)


def deployment_events(deployment: Deployment) -> list[DeploymentEvent]:
    """What happened, oldest first."""
    return list(DeploymentEvent.objects.filter(deployment=deployment).order_by("created_at", "pk"))


def rollouts(project_id: UUID) -> "QuerySet[Rollout]":
    """A project's rollouts, newest first."""
    whole = ("stable__model", "stable__version", "candidate__model", "candidate__version")
    found: QuerySet[Rollout] = Rollout.objects.filter(project_id=project_id).select_related(*whole).order_by("-pk")
    return found


def rollout_by_id(project_id: UUID, public_id: str) -> Rollout:
    """One rollout of a project; NotFound for anybody else's."""
    found = rollouts(project_id).filter(pk=parse_id(Rollout.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def rollout_with(deployment: Deployment) -> Rollout | None:
    """The running rollout that a deployment is a side of; the newest where there are several."""
    running = rollouts(deployment.project_id).filter(state=Rollout.State.RUNNING)
    found: Rollout | None = running.filter(Q(stable=deployment) | Q(candidate=deployment)).first()
    return found


def rollouts_rolled_back(project_id: UUID, since: dt.datetime) -> "QuerySet[Rollout]":
    """Those that were rolled back by themselves since then, newest first."""
    back = rollouts(project_id).filter(state=Rollout.State.ROLLED_BACK, automatic=True, ended_at__gt=since)
    return back


def rollout_events(rollout: Rollout) -> list[RolloutEvent]:
    """What happened, oldest first."""
    return list(RolloutEvent.objects.filter(rollout=rollout).order_by("created_at", "pk"))


def replicas() -> "QuerySet[Replica]":
    """Engines that announce themselves, as a tick last wrote them down."""
    return Replica.objects.all()


def engine_health() -> HealthReport:
    """What an engine that serves everybody says of itself.

    Raises `inference.errors.EngineError` when it does not answer within seconds.
    """
    with engines.connected(timeout=2, connect_timeout=1) as engine:
        report: HealthReport = engine.health()
        return report


def wire(deployment: Deployment) -> dict[str, Any]:
    """The object on the wire."""
    return {
        "id": deployment.public_id,
        "object": "deployment",
        "model": deployment.model.name,
        "version": deployment.version.number,
        "alias": deployment.alias or None,
        "state": deployment.state,
        "reason": deployment.reason or None,
        "parity": deployment.parity or None,
        "precision": deployment.precision,
        "dedicated": pools.wire(deployment.dedicated) if hasattr(deployment, "dedicated") else None,
        "created_at": int(deployment.created_at.timestamp()),
        "live_at": int(deployment.live_at.timestamp()) if deployment.live_at else None,
        "ended_at": int(deployment.ended_at.timestamp()) if deployment.ended_at else None,
        "last_called_at": int(deployment.last_called_at.timestamp()) if deployment.last_called_at else None,
    }


def rollout_wire(rollout: Rollout) -> dict[str, Any]:
    """The object on the wire; shares in percent."""
    return {
        "id": rollout.public_id,
        "object": "rollout",
        "alias": rollout.alias,
        "mode": rollout.mode,
        "state": rollout.state,
        "share": rollout.share / 100,
        "stable": _arm_wire(rollout.stable),
        "candidate": _arm_wire(rollout.candidate),
        "steps": [step | {"share": step["share"] / 100} for step in rollout.steps],
        "guards": rollout.guards,
        "drain_seconds": rollout.drain_seconds,
        "automatic": rollout.automatic,
        "reason": rollout.reason or None,
        "created_at": int(rollout.created_at.timestamp()),
        "ended_at": int(rollout.ended_at.timestamp()) if rollout.ended_at else None,
    }


def _arm_wire(deployment: Deployment) -> dict[str, Any]:
    return {
        "deployment": deployment.public_id,
        "model": deployment.model.name,
        "version": deployment.version.number,
    }
