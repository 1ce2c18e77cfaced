"""What a project can call: live models, their aliases, and the bases. Read by the gateway, which keeps the result.

Every change of a deployment is told on `news:routes`; the message is the project's id in hex.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

from django.db import transaction

from inference.announcement import SHARED
from inference.fleet import Want
from inference.tasks import (
    ANSWERS,
    CLASSIFICATION,
    EMBEDDINGS,
    MULTI_LABEL,
    REGRESSION,
    RERANK,
    TEXT_GENERATION,
    TOKENS,
)
from kit import redis
from kit.errors import BadRequest
from registry import selectors as registry
from registry.bases import TEXT_CLASSIFICATION
from serving import bounds
from serving.abstaining import HeldOut, Rule, default_rule, held_out_of
from serving.models import Deployment, Rollout
from serving.splits import Split
from tenants.scope import tenant_scope

NEWS = "news:routes"
WAYS = {
    CLASSIFICATION: "classifies texts. Call it with POST /v1/classify, /v1/decisions or /v1/predict",
    MULTI_LABEL: "gives each label a chance of its own. Call it with POST /v1/predict, /v1/classify or /v1/moderations",
    REGRESSION: "gives quantities and no labels. Call it with POST /v1/predict, or ask /v1/decisions for a score",
    TOKENS: "finds entities in texts. Call it with POST /v1/predict",
    ANSWERS: "answers questions from a context. Call it with POST /v1/predict",
    RERANK: "scores documents for a query. Call it with POST /v1/rerank or /v1/predict",
    EMBEDDINGS: "gives vectors and no labels. Call it with POST /v1/embeddings or /v1/rerank",
    TEXT_GENERATION: "writes text. Call it with POST /v1/chat/completions or /v1/completions",
}
"""What a model of each task does, and where it is called."""
NOWHERE = registry.ArtefactPlace()
"""A base has no artefact."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A callable name. `version` is the engine's name of the model and empty for a base; sizes are in tokens.

    `task` is what it was tuned for. Of a base it is what it can do untuned: write text, if its catalogue entry says so,
    or be read for embeddings.
    """

    model: str
    version: str
    base: str
    place: registry.ArtefactPlace
    sha256: str
    labels: tuple[str, ...]
    max_length: int
    task: str = TEXT_CLASSIFICATION
    number: int = 0
    """Of the version; 0 for a base."""
    held_out: HeldOut | None = None
    """What was measured for abstention, and the deployment's own rule for calls that name none."""
    rule: Rule | None = None
    dataset_version: UUID | None = None
    """The rows it was trained on."""
    split: Split | None = None
    """The rollout that runs on this name."""
    pool: str = SHARED
    """Of which engines it is asked."""
    halted: bool = False
    """Whether those are kept from running."""
    pinned: bool = False
    """Whether engines are to keep it in memory."""
    places: dict[str, int] = field(init=False)
    said: bytes = field(init=False)
    """The model and its version as `x-model-version` has them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {label: place for place, label in enumerate(self.labels)})
        said = f"{self.model}; version={self.number}" if self.number else self.model
        object.__setattr__(self, "said", said.encode("ascii", "replace"))

    def want(self, tenant: str) -> Want:
        """Which engines can be asked about it."""
        return Want(self.base, tenant, self.version, self.pool)

    def tokens_at_most(self, texts: list[str]) -> int:
        """Tokens that texts can have, each cut at the model's limit."""
        return bounds.of_texts(texts, self.max_length)

    @property
    def writes(self) -> bool:
        """Whether it writes text (chat, completions) or reads it (decisions, classify, embeddings)."""
        return self.task == TEXT_GENERATION

    def require_labels(self) -> None:
        """BadRequest for what has no labels: a model that writes, or a base."""
        self.require_reader()
        if not self.version:
            raise _unsupported(
                f"'{self.model}' is a base without labels of its own. Tune it on your data and deploy the result, "
                "or use it with POST /v1/embeddings."
            )
        self.require_task(CLASSIFICATION, MULTI_LABEL)

    def require_task(self, *tasks: str) -> None:
        """BadRequest for a base, and for a model of any other task: it says what the model is for."""
        if not self.version:
            raise _unsupported(
                f"'{self.model}' is a base and answers no task. Tune it on your data and deploy the result, or use it "
                f"with {'POST /v1/chat/completions' if self.writes else 'POST /v1/embeddings'}."
            )
        if self.task not in tasks:
            raise _unsupported(f"'{self.model}' {WAYS[self.task]}.")

    def require_reader(self) -> None:
        """BadRequest for a model that writes text."""
        if self.writes:
            raise _unsupported(
                f"'{self.model}' writes text; it gives no labels and no vectors. Call it with "
                "POST /v1/chat/completions or POST /v1/completions."
            )

    def require_writer(self) -> None:
        """BadRequest for a model that writes no text."""
        if self.writes:
            return
        if self.version:
            raise _unsupported(f"'{self.model}' does not write text: it {WAYS[self.task]}.")
        raise _unsupported(
            f"'{self.model}' is a base: it reads text and does not write any. Call it with POST /v1/embeddings."
        )


def _unsupported(message: str) -> BadRequest:
    return BadRequest(message, param="model", code="unsupported_model")


def routes_of(*, tenant_id: UUID, project_id: UUID) -> dict[str, Route]:
    """Every name the project can call now. Opens the tenant's scope itself."""
    routes = {
        base.name: Route(base.name, "", base.name, NOWHERE, "", (), base.max_length, _task_of(base.tasks))
        for base in registry.bases()
    }
    by_version: dict[UUID, Route] = {}
    with tenant_scope(tenant_id):
        live = Deployment.objects.filter(project_id=project_id, state=Deployment.State.LIVE)
        for deployment in live.select_related("model", "version", "dedicated").order_by("live_at", "pk"):
            route = by_version[deployment.version_id] = route_of(deployment)
            routes.setdefault(route.model, route)  # the version that has been live for longest keeps the name
        rollouts = _running(project_id)
        for alias in registry.aliases(project_id):
            if alias.version_id in by_version:
                name = str(alias)
                routes[name] = _split(by_version[alias.version_id], rollouts.get(name), by_version)
    return routes


def _running(project_id: UUID) -> dict[str, Rollout]:
    """The rollouts that run, by alias."""
    running = Rollout.objects.filter(project_id=project_id, state=Rollout.State.RUNNING)
    return {rollout.alias: rollout for rollout in running.select_related("stable", "candidate")}


def _split(route: Route, rollout: Rollout | None, by_version: dict[UUID, Route]) -> Route:
    """The alias's route; with its rollout, where the alias still stands for the stable version and both are live."""
    if rollout is None or rollout.stable.version_id.hex != route.version:
        return route
    candidate = by_version.get(rollout.candidate.version_id)
    if candidate is None:
        return route
    shadow = rollout.mode == Rollout.Mode.SHADOW
    return replace(route, split=Split(rollout.pk, rollout.alias, rollout.share, shadow, candidate))


def route_of(deployment: Deployment) -> Route:
    """The route of one deployment."""
    version = deployment.version
    held_out = held_out_of(version.report)
    own = deployment.dedicated if hasattr(deployment, "dedicated") else None
    return Route(
        model=deployment.model.name,
        version=engine_name(deployment),
        base=deployment.model.base,
        place=registry.artefact_place(version),
        sha256=version.artefact_sha256,
        labels=tuple(version.labels),
        max_length=deployment.max_length,
        task=deployment.model.task,
        number=version.number,
        held_out=held_out,
        rule=default_rule(held_out, deployment.precision),
        dataset_version=version.dataset_version_id,
        pool=own.pool if own is not None and own.serves else SHARED,
        halted=bool(own is not None and own.serves and own.halted),
        pinned=version.pinned,
    )


def _task_of(tasks: tuple[str, ...]) -> str:
    """A base that can be tuned to write can write; any other is an encoder."""
    return TEXT_GENERATION if TEXT_GENERATION in tasks else TEXT_CLASSIFICATION


def engine_name(deployment: Deployment) -> str:
    """What the engine calls the model: its version, which never changes."""
    return deployment.version_id.hex


def announce(project_id: UUID) -> None:
    """Tell gateways, after the running transaction commits."""
    transaction.on_commit(partial(redis.publish, NEWS, project_id.hex))
