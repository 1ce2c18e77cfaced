"""Calls from the console's own pages: limited, metered, billed and logged as a call without a key.

They run outside any scope, for the engine may take its time. They raise CallRefused before anything runs, and
EngineError, which costs nothing; the request log has either. `user_id` is the member's who asks.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from billing.quotas import DEFAULT_LIFE_MS
from billing.selectors.limits import tenant_allowance
from billing.services.calls import call_metered
from inference.client import BlockingClient
from inference.errors import BadRequest as AskedWrongly
from inference.errors import EngineError
from inference.fleet import Want
from inference.tasks import ANSWERS, RERANK, TOKENS
from inference.wire import Classified, Computed, Embedded
from kit.clock import now
from kit.errors import ApiError, BadRequest, Unavailable
from kit.ids import new_id, public_id
from registry.bases import catalogue
from serving import bounds, pools, routes
from serving.errors import EnginesHalted
from serving.models import Deployment, RequestRecord
from serving.texts import text_note
from tenants.models import Project
from tenants.scope import tenant_scope

Result = TypeVar("Result", bound=Computed)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Probabilities of each text, likeliest first, and what they took."""

    rows: list[list[tuple[str, float]]]
    tokens: int
    cost_nano: int
    request_id: str
    limit: int
    """Tokens that the model reads of a text."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The cosine between two texts' vectors, and what reading them took."""

    cosine: float
    dimensions: int
    tokens: int
    cost_nano: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model that was trained for another task says of a text, or of a pair of them, and what it took.

    `found` is by the task: `inference.wire` entities; (spans, share of no answer); else (name, number) of each label.
    """

    found: Any
    tokens: int
    cost_nano: int
    request_id: str


@dataclass(frozen=True, slots=True)
class ConsoleCall:
    """Whose call it is, of what, and what is at most read."""

    tenant_id: UUID
    project_id: UUID
    kind: str
    model: str
    version: str
    tokens: int
    want: Want
    """Which engine is asked."""
    user_id: UUID | None = None
    halted: bool = False
    """Whether those engines are kept from running."""


def prediction_try(*, deployment: Deployment, texts: list[str], user_id: UUID | None = None) -> Prediction:
    """Classify a few texts."""
    tenant_id = deployment.tenant_id
    with tenant_scope(tenant_id):
        route, weight = routes.route_of(deployment), tenant_allowance()[1]
    tenant, tokens = tenant_id.hex, route.tokens_at_most(texts)
    asked = call_of(deployment, route, "classify", tokens, user_id)

    def ask(engine: BlockingClient) -> Classified:
        engine.load(tenant=tenant, model=route.version, sha256=route.sha256, **route.place.source())
        answer: Classified = engine.classify(tenant=tenant, model=route.version, texts=texts, weight=weight)
        return answer

    result, record = metered(asked, ask)
    flat = array("f", result.probabilities).tolist()
    rows = [flat[start : start + result.width] for start in range(0, len(flat), result.width)]
    ordered = [sorted(zip(route.labels, row, strict=True), key=lambda pair: -pair[1]) for row in rows]
    with tenant_scope(tenant_id):
        text_note(record, input="\n".join(texts), output=json.dumps(ordered, ensure_ascii=False))
    return Prediction(ordered, record.input_tokens, record.cost_nano, record.public_id, result.limit)


def reading_try(
    *, deployment: Deployment, text: str, other: str, answers: int = 3, user_id: UUID | None = None
) -> Reading:
    """Entities of a text, answers to a question from the `other` text, a document's score, chances or quantities."""
    tenant_id = deployment.tenant_id
    with tenant_scope(tenant_id):
        route, weight = routes.route_of(deployment), tenant_allowance()[1]
    task, kind = route.task, "rerank" if route.task == RERANK else "classify"
    if task == TOKENS:
        tokens = bounds.of_whole([text])
    elif task == ANSWERS:
        tokens = bounds.of_pairs([(text, other)])
    elif task == RERANK:
        tokens = bounds.of_ranked(text, [other], route.max_length)
    else:
        tokens = route.tokens_at_most([text])
    asked = call_of(deployment, route, kind, tokens, user_id)
    whose: dict[str, Any] = {"tenant": tenant_id.hex, "model": route.version, "weight": weight}

    def ask(engine: BlockingClient) -> Any:
        engine.load(tenant=tenant_id.hex, model=route.version, sha256=route.sha256, **route.place.source())
        if task == TOKENS:
            return engine.tag(texts=[text], **whose)
        if task == ANSWERS:
            return engine.ask(pairs=[(text, other)], answers=answers, **whose)
        if task == RERANK:
            return engine.rank(query=text, texts=[other], **whose)
        return engine.classify(texts=[text], **whose)

    result: Any
    result, record = metered(asked, ask)
    if task == TOKENS:
        found = result.entities[0]
    elif task == ANSWERS:
        found = result.spans[0], result.nothing[0]
    else:
        found = list(zip(route.labels, array("f", result.probabilities).tolist(), strict=True))
    said = text if task == TOKENS or not other else f"{text}\n{other}"
    with tenant_scope(tenant_id):
        text_note(record, input=said, output=msgspec.json.encode(found).decode())
    return Reading(found, record.input_tokens, record.cost_nano, record.public_id)


def likeness_try(
    *, project: Project, base: str, texts: list[str], deployment: Deployment | None = None, user_id: UUID | None = None
) -> Likeness:
    """Embed two texts with a base, or with a deployed model on it, and hold their vectors against each other."""
    tenant_id, longest = project.tenant_id, catalogue()[base].max_length
    with tenant_scope(tenant_id):
        weight = tenant_allowance()[1]
        route = routes.route_of(deployment) if deployment is not None else None
    tokens = bounds.of_texts(texts, longest)
    called, version = (route.model, route.version) if route is not None else (base, "")
    want = Want(base) if route is None else route.want(tenant_id.hex)
    halted = route is not None and route.halted
    asked = ConsoleCall(tenant_id, project.pk, "embeddings", called, version, tokens, want, user_id, halted)

    def ask(engine: BlockingClient) -> Embedded:
        if route is not None:
            engine.load(tenant=tenant_id.hex, model=version, sha256=route.sha256, **route.place.source())
            vectors: Embedded = engine.embed(tenant=tenant_id.hex, model=version, texts=texts, weight=weight)
            return vectors
        answer: Embedded = engine.embed(tenant=tenant_id.hex, base=base, texts=texts, weight=weight)
        return answer

    result, record = metered(asked, ask)
    flat, width = array("f", result.vectors), result.width
    cosine = sum(a * b for a, b in zip(flat[:width], flat[width:], strict=True))
    with tenant_scope(tenant_id):
        text_note(record, input="\n".join(texts), output=f"{cosine:.6f}")
    return Likeness(cosine, width, record.input_tokens, record.cost_nano, record.public_id)


def call_of(deployment: Deployment, route: routes.Route, kind: str, tokens: int, user_id: UUID | None) -> ConsoleCall:
    """A call of a deployment that reads at most so many tokens."""
    tenant_id, want = deployment.tenant_id, route.want(deployment.tenant_id.hex)
    return ConsoleCall(
        tenant_id, deployment.project_id, kind, route.model, route.version, tokens, want, user_id, route.halted
    )


def metered(
    asked: ConsoleCall, ask: Callable[[BlockingClient], Result], *, items: int = 0, timeout: float = 10,
    life_ms: int = DEFAULT_LIFE_MS,
) -> tuple[Result, RequestRecord]:  # fmt: skip
    """Ask the engine inside a metered call, and log it: with so many `items`, as many as were read unless told.

    `timeout` is in seconds, for each question, and `life_ms` for all of them. Raises `ModelCold` where an engine of the
    deployment's own is not ready in time, and `EnginesHalted` at once where they are kept from running.
    """
    at, began, identity = now(), time.perf_counter(), new_id()
    try:
        if asked.halted:
            raise EnginesHalted
        with call_metered(
            tenant_id=asked.tenant_id, project_id=asked.project_id, kind=asked.kind, model=asked.model,
            tokens=asked.tokens, member_id=asked.user_id, request_id=public_id(RequestRecord.prefix, identity),
            life_ms=life_ms,
        ) as meter:  # fmt: skip
            with pools.awake(asked.want, timeout=timeout) as engine:
                result = ask(engine)
            used = sum(min(length, result.limit) for length in result.lengths)
            meter.note(input_tokens=used, machine_ms=-(-result.compute_us // 1000))
    except (ApiError, EngineError) as error:
        _logged(asked, identity, at, began, *_said(error))
        raise
    record = _logged(
        asked,
        identity,
        at,
        began,
        200,
        version_id=UUID(hex=asked.version) if asked.version else None,
        queue_ms=round(result.queue_us / 1000),
        engine_ms=-(-result.compute_us // 1000),
        items=items or len(result.lengths),
        batch_rows=result.batch_rows,
        input_tokens=used,
        cost_nano=meter.event.cost_nano if meter.event is not None else 0,
    )
    return result, record


def refused(*, tenant_id: UUID, project_id: UUID, kind: str, model: str, error: ApiError) -> None:
    """Log a call that a page refused before it asked for anything; `model` may be whatever was sent. Outside any
    scope."""
    name = model.replace("\x00", "")[:200]  # which PostgreSQL cannot hold
    asked = ConsoleCall(tenant_id, project_id, kind, name, "", 0, Want(""))
    _logged(asked, new_id(), now(), time.perf_counter(), *_said(error))


def _said(error: ApiError | EngineError) -> tuple[int, str]:
    """The status and the code of an error, as the API would give them."""
    if isinstance(error, AskedWrongly):
        return BadRequest.status, BadRequest.type
    if isinstance(error, EngineError):
        return Unavailable.status, Unavailable.default_code or Unavailable.type
    return error.status, (error.code or error.type)[:64]


def _logged(
    asked: ConsoleCall, identity: UUID, at: dt.datetime, began: float, status: int, code: str = "", **more: Any
) -> RequestRecord:
    record = RequestRecord(
        id=identity,
        tenant_id=asked.tenant_id,
        project_id=asked.project_id,
        at=at,
        kind=asked.kind,
        model=asked.model,
        status=status,
        code=code,
        duration_ms=round((time.perf_counter() - began) * 1000),
        **more,
    )
    with tenant_scope(asked.tenant_id):
        record.save(force_insert=True)
    return record
