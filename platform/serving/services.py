"""Changes to deployments. The engine is asked outside any transaction; its answer is written inside a short one."""

import datetime as dt
import logging
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q

from billing.selectors.subscriptions import entitlement_for
from hooks.catalogue import DEPLOYMENT_FAILED, DEPLOYMENT_LIVE
from hooks.services import event_publish
from inference.errors import BadArtefact, EngineError
from inference.tasks import ANSWERS, EMBEDDINGS, LABELS, REGRESSION
from kit import outbox
from kit.clock import now
from kit.errors import BadRequest
from registry import names
from registry import selectors as registry
from registry.artefacts import UNLABELLED
from registry.bases import TEXT_CLASSIFICATION, catalogue
from registry.models import Model, ModelVersion
from registry.services import alias_set, model_serving_set, version_pin_set
from serving import engines, pools, rollouts, routes, selectors
from serving.abstaining import held_out_of, rule_for
from serving.errors import AlreadyDeployed, BaseNeedsNoDeployment, DeploymentsFull, NotDeployable, NotLive
from serving.models import Dedicated, Deployment, DeploymentEvent, Replica, Rollout
from serving.pools import Wish
from tenants import audit
from tenants.models import Project
from tenants.scope import ops_scope, tenant_scope
from tenants.services.organisations import project_open, tenant_turn

logger = logging.getLogger(__name__)

LOAD = "serving.deployment_load"
UNLOAD = "serving.deployment_unload"
GIVE_UP = dt.timedelta(minutes=15)
COMPARED = {REGRESSION: "quantity", EMBEDDINGS: "number of a vector", ANSWERS: "share of a place"}
"""What the parity check compares where it is no probability."""
RING_AGAIN = dt.timedelta(seconds=20)


def deployment_create(
    *, project: Project, model: str, alias: str = "", version: int | None = None, created_by: str = "",
    dedicated: Wish | None = None, precision: float | None = None,
) -> Deployment:  # fmt: skip
    """Wish a model served, its newest version or the one of that number, by the shared engines or by some of its own,
    and `precision` as `deployment_precision_set` has it.

    It is loaded and checked by a task; calls are answered once it is live.
    """
    if model in catalogue():
        raise BaseNeedsNoDeployment(
            f"'{model}' is a base: it is served already. Call it with POST /v1/embeddings.", param="model"
        )
    if alias and names.split_alias(alias) is None:
        raise BadRequest(f"An alias is {names.ALIAS_RULE}.", param="alias")
    tenant_turn()
    project_open(project.pk)
    found = registry.model_version_by_name(project.id, model)
    if version is not None and version != found.number:
        found = registry.version_by_number(found.model, version)
    found.model = Model.objects.select_for_update().get(pk=found.model_id)  # deleting and deploying take turns
    _check(found.model, found.labels)
    _check_precision(found, precision)
    _check_room(found)
    if dedicated is not None:
        pools.check_room(dedicated)
    try:
        with transaction.atomic():
            made: Deployment = Deployment.objects.create(
                project=project, model=found.model, version=found, alias=alias, created_by=created_by,
                precision=precision,
            )  # fmt: skip
            if dedicated is not None:
                Dedicated.objects.create(deployment=made, **asdict(dedicated))
    except IntegrityError as error:
        active = selectors.deployment_of_version(found.pk)
        where = f" as {active.public_id} ({active.state})" if active else ""
        raise AlreadyDeployed(
            f"Version {found.number} of the model '{found.model.name}' is deployed already{where}. "
            f"{_instead(active, alias)}",
            param="model",
        ) from error
    note(made, Deployment.State.LOADING, "Deployment requested.")
    audit.record(
        action="deployment.created",
        target=made,
        after={"model": made.model.name, "version": found.number, "alias": alias}
        | ({"precision": precision} if precision is not None else {}),
    )
    _tell_registry(made)
    outbox.ring(LOAD, str(made.tenant_id), str(made.id))
    return made


def _instead(active: Deployment | None, alias: str) -> str:
    """What helps who wanted it deployed anew."""
    if active and alias:
        return f'To give it the alias: POST /v1/deployments/{active.public_id} with {{"alias": "{alias}"}}.'
    return "Stop it first to deploy it anew."


def _check(model: Model, labels: list[str]) -> None:
    fewest, most = LABELS.get(model.task, (0, 0))
    known = model.task in LABELS or model.task in UNLABELLED
    if model.deleted_at is not None or not known or not fewest <= len(labels) <= most:
        raise NotDeployable(
            f"The model '{model.name}' cannot be served: it neither reads text for a task that is known here nor "
            "writes any.",
            param="model",
        )


def _check_precision(version: ModelVersion, precision: float | None) -> None:
    """Whether the version's held-out rows support it."""
    if precision is None:
        return
    name = version.model.name
    if not 0 < precision <= 1:
        raise BadRequest("'precision' must be above 0 and at most 1: 0.95 means 95 in 100.", param="precision")
    if version.model.task != TEXT_CLASSIFICATION:
        raise BadRequest(f"'{name}' does not classify, so it has no precision.", param="precision")
    rule_for(held_out_of(version.report), precision, model=name, param="precision")


def _measured(model: Model) -> str:
    """What the parity check compares."""
    if model.task in UNLABELLED:
        return "log-probability"
    return COMPARED.get(model.task, "probability")


def _tell_registry(row: Deployment) -> None:
    """What the registry shows of a model: the state of the version that answers to its name, or what became of the
    last."""
    active = selectors.deployment_of_model(row.model_id)
    model_serving_set(model=row.model, state=active.state if active else row.state)


def _check_room(version: ModelVersion) -> None:
    """What is deployed when a plan shrinks stays; only new ones need room."""
    most = entitlement_for(version.tenant_id).limits.deployments
    others = Deployment.objects.filter(state__in=selectors.ACTIVE).exclude(version=version).count()
    if others >= most:
        raise DeploymentsFull(
            f"{others} deployments are active in your organization, and your plan allows {most}. Stop one, or take a "
            "larger plan.",
            param="model",
        )


def deployment_stop(*, deployment: Deployment, reason: str = "Stopped on request.") -> Deployment:
    """Stop serving. Doing it again changes nothing; calls answer 404 within seconds."""
    row: Deployment = Deployment.objects.select_for_update().select_related("model", "version").get(pk=deployment.pk)
    if row.state not in selectors.ACTIVE:
        return row
    before = row.state
    row.state, row.reason, row.ended_at = Deployment.State.STOPPED, reason, now()
    row.save(update_fields=["state", "reason", "ended_at"])
    pools.ended(row)
    if row.version.pinned:
        version_pin_set(version=row.version, pinned=False)  # unloading lets go of it
    note(row, row.state, reason)
    ended = Rollout.objects.select_for_update().filter(state=Rollout.State.RUNNING)
    for rollout in ended.filter(Q(stable=row) | Q(candidate=row)):
        arm = "stable version" if rollout.stable_id == row.pk else "candidate"
        rollouts.rollout_end(rollout, reason=f"The deployment of the {arm} was stopped.")
    audit.record(action="deployment.stopped", target=row, before={"state": before}, after={"state": row.state})
    _tell_registry(row)
    routes.announce(row.project_id)
    outbox.ring(UNLOAD, str(row.tenant_id), routes.engine_name(row))
    return row


def deployment_precision_set(*, deployment: Deployment, precision: float | None) -> Deployment:
    """Answer calls that say nothing of `x_abstain` only where at least this share is right; None: always. Gateways obey
    within seconds. BadRequest where the version's held-out rows do not support it; for what has ended, nothing to do.
    """
    row: Deployment = Deployment.objects.select_for_update().select_related("model", "version").get(pk=deployment.pk)
    if row.state not in selectors.ACTIVE:
        return row
    _check_precision(row.version, precision)
    before = row.precision
    if before != precision:
        row.precision = precision
        row.save(update_fields=["precision"])
        audit.record(
            action="deployment.precision", target=row, before={"precision": before}, after={"precision": precision}
        )
        routes.announce(row.project_id)
    return row


def deployment_alias_set(*, deployment: Deployment, alias: str) -> Deployment:
    """Let an alias stand for the deployment's version, wherever it stood before; calls follow within seconds. Of one
    that is loading it moves once that is live; for what has ended, NotLive.
    """
    if names.split_alias(alias) is None:
        raise BadRequest(f"An alias is {names.ALIAS_RULE}.", param="alias")
    tenant_turn()
    row = _among_all(deployment)
    if row.state not in selectors.ACTIVE:
        raise NotLive(f"{row.public_id} is {row.state}. Deploy the model again, with the alias.", param="alias")
    row.alias = alias
    row.save(update_fields=["alias"])
    if row.state == Deployment.State.LIVE:
        others = Deployment.objects.filter(project_id=row.project_id, alias=alias, state__in=selectors.ACTIVE)
        others.exclude(pk=row.pk).update(alias="")
        alias_set(project=row.project, alias=alias, version=row.version)
        routes.announce(row.project_id)
    return row


def _among_all(deployment: Deployment) -> Deployment:
    """Its row, locked together with every other that could have the alias now or in a moment, in the order in which a
    rollout locks its two: who took its own first and then the other's would wait for a rollout that waits for it."""
    rows = Deployment.objects.select_related("model", "version", "project").select_for_update(of=("self",))
    active = Q(project_id=deployment.project_id, state__in=selectors.ACTIVE)
    held: dict[UUID, Deployment] = {one.pk: one for one in rows.filter(active | Q(pk=deployment.pk)).order_by("pk")}
    return held[deployment.pk]


def deployment_load(*, tenant_id: UUID, deployment_id: UUID) -> str:
    """Bring a deployment's version into the engine, compare it with training, then let calls in. Returns the state.

    Safe to run twice at once: the second finds nothing to do. An engine that is away leaves the deployment loading;
    the sweep rings again.
    """
    with tenant_scope(tenant_id):
        row = _loading(deployment_id, lock=False)
        if row is None:
            return "nothing to do"
        route, measured = routes.route_of(row), _measured(row.model)
    try:
        with engines.connected(route.want(tenant_id.hex)) as engine:
            loaded = engine.load(tenant=tenant_id.hex, model=route.version, sha256=route.sha256, **route.place.source())
            report = engine.parity(tenant=tenant_id.hex, model=route.version)
    except BadArtefact as error:
        return _failed(tenant_id, deployment_id, f"The engine refused the model's files: {error.message}")
    except EngineError as error:
        return _waiting(tenant_id, deployment_id, error.message)
    parity = {
        "passed": report.passed,
        "texts": report.n,
        "worst": round(report.worst, 6),
        "mean": round(report.mean, 6),
        "tolerance": report.tolerance,
    }
    if not report.passed or loaded.labels != list(route.labels):
        message = (
            f"The serving path does not reproduce training: a {measured} differs by up to {report.worst:.4f} "
            f"(allowed {report.tolerance}) and {report.flips} of {report.n} answers changed."
        )
        return _failed(tenant_id, deployment_id, message, parity)
    return _live(tenant_id, deployment_id, loaded.max_length, parity)


def deployment_unload(*, tenant_id: UUID, version: str) -> None:
    """Free the engines' memory, unless the version is served again meanwhile. Failing is harmless: it ages out."""
    with tenant_scope(tenant_id):
        if Deployment.objects.filter(version_id=UUID(hex=version), state__in=selectors.ACTIVE).exists():
            return
    engines.unload_everywhere(tenant=tenant_id.hex, model=version)


def replica_leave(*, name: str) -> Replica:
    """Let an engine finish what it has and leave. Raises as `engines.replica_leave`."""
    return engines.replica_leave(name=name)


def deployments_sweep() -> int:
    """Ring again for deployments that still load, and fail those that have for too long. Returns how many."""
    with ops_scope("find deployments that wait for the engine"):
        waiting = list(
            Deployment.ops.filter(state=Deployment.State.LOADING, created_at__lt=now() - RING_AGAIN).values_list(
                "tenant_id", "id", "created_at"
            )[:500]
        )
    for tenant_id, deployment_id, created_at in waiting:
        if created_at < now() - GIVE_UP:
            _failed(tenant_id, deployment_id, "The engine could not take the model in for 15 minutes. Deploy it again.")
        else:
            deployment_load(tenant_id=tenant_id, deployment_id=deployment_id)
    return len(waiting)


def _loading(deployment_id: UUID, *, lock: bool) -> Deployment | None:
    rows = Deployment.objects.select_related("model", "version", "project", "dedicated")
    if lock:
        rows = rows.select_for_update(of=("self",))
    found: Deployment | None = rows.filter(pk=deployment_id, state=Deployment.State.LOADING).first()
    return found


def _live(tenant_id: UUID, deployment_id: UUID, max_length: int, parity: dict[str, Any]) -> str:
    with tenant_scope(tenant_id):
        row = _loading(deployment_id, lock=True)
        if row is None:
            return "nothing to do"
        row.state, row.live_at, row.reason = Deployment.State.LIVE, now(), ""
        row.max_length, row.parity = max_length, parity
        row.save(update_fields=["state", "live_at", "reason", "max_length", "parity"])
        if row.alias:
            alias_set(project=row.project, alias=row.alias, version=row.version)
        note(
            row,
            row.state,
            f"Live. Serving differs from training by at most {parity['worst']:.4f} in {_measured(row.model)}.",
        )
        audit.record(action="deployment.live", target=row, after={"parity": parity})
        event_publish(project_id=row.project_id, type=DEPLOYMENT_LIVE, data={"id": row.public_id})
        _tell_registry(row)
        routes.announce(row.project_id)
        return str(row.state)


def _failed(tenant_id: UUID, deployment_id: UUID, reason: str, parity: dict[str, Any] | None = None) -> str:
    with tenant_scope(tenant_id):
        row = _loading(deployment_id, lock=True)
        if row is None:
            return "nothing to do"
        row.state, row.ended_at, row.reason, row.parity = Deployment.State.FAILED, now(), reason[:500], parity or {}
        row.save(update_fields=["state", "ended_at", "reason", "parity"])
        pools.ended(row)
        note(row, row.state, reason)
        audit.record(action="deployment.failed", target=row, after={"reason": reason[:500]})
        event_publish(project_id=row.project_id, type=DEPLOYMENT_FAILED, data={"id": row.public_id})
        _tell_registry(row)
        return str(row.state)


def _waiting(tenant_id: UUID, deployment_id: UUID, reason: str) -> str:
    with tenant_scope(tenant_id):
        row = _loading(deployment_id, lock=True)
        if row is None:
            return "nothing to do"
        row.attempts += 1
        row.reason = f"Waiting for the engine: {reason}"[:500]
        row.save(update_fields=["attempts", "reason"])
        return str(row.state)


def note(deployment: Deployment, state: str, message: str) -> None:
    """One line of a deployment's history."""
    DeploymentEvent.objects.create(deployment=deployment, state=state, message=message[:500])
