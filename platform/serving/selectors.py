"""Reading deployments of the scope's tenant."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from inference.client import BlockingClient
from inference.wire import HealthReport
from kit.errors import NotFound
from kit.ids import parse_id
from serving.models import Deployment, DeploymentEvent

ACTIVE = (Deployment.State.LOADING, Deployment.State.LIVE)


def deployments(project_id: UUID) -> "QuerySet[Deployment]":
    """A project's deployments, newest first."""
    found: QuerySet[Deployment] = (
        Deployment.objects.filter(project_id=project_id).select_related("model", "version").order_by("-pk")
    )
    return found


def deployment_by_id(project_id: UUID, public_id: str) -> Deployment:
    """One deployment of a project; NotFound for anybody else's."""
    found = deployments(project_id).filter(pk=parse_id(Deployment.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def deployment_of_model(model_id: UUID) -> Deployment | None:
    """The deployment of a model that is loading or live."""
    found: Deployment | None = (
        Deployment.objects.filter(model_id=model_id, state__in=ACTIVE).select_related("model", "version").first()
    )
    return found


def deployment_events(deployment: Deployment) -> list[DeploymentEvent]:
    """What happened, oldest first."""
    return list(DeploymentEvent.objects.filter(deployment=deployment).order_by("created_at", "pk"))


def engine_health() -> HealthReport:
    """What the engine says of itself. Raises `inference.errors.EngineError` when it does not answer within seconds."""
    with BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN, timeout=2, connect_timeout=1) as engine:
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
        "created_at": int(deployment.created_at.timestamp()),
        "live_at": int(deployment.live_at.timestamp()) if deployment.live_at else None,
        "ended_at": int(deployment.ended_at.timestamp()) if deployment.ended_at else None,
    }
