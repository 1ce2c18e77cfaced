"""Why a deployment answers as it does, for the console's own pages: a call like any other, without a key."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass

from billing.selectors.limits import tenant_allowance
from evaluation.occlusion import MAX_CHARACTERS, Span, effects, most_pieces, spans_of, without
from inference.artefact import NEIGHBOURS
from inference.client import BlockingClient
from inference.wire import Neighbours
from kit.errors import BadRequest
from serving import routes
from serving.models import Deployment
from serving.routes import Route
from serving.texts import text_note
from serving.training_rows import LOOKED_AT, NOT_KEPT, NearRow, nearest_shown
from serving.trying import call_of, metered
from tenants.scope import tenant_scope


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text, in order; `effect` is None for what stands between the words."""

    text: str
    effect: float | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """The likeliest label, what each word added to its probability, the nearest rows, and what it took."""

    label: str
    probability: float
    pieces: list[Piece]
    nearest: list[NearRow]
    missing: str | None
    tokens: int
    cost_nano: int

    @property
    def words(self) -> list[Piece]:
        """The words, those with the largest effect first."""
        return sorted(
            (piece for piece in self.pieces if piece.effect is not None), key=lambda one: -abs(one.effect or 0)
        )


def explanation_try(*, deployment: Deployment, text: str) -> Why:
    """Explain one text's answer: limited, metered, billed and logged as a call without a key.

    Outside any scope, for the engine may take its time. Raises CallRefused before anything runs, and EngineError, which
    costs nothing; BadRequest for a text that is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(
            f"A text of at most {MAX_CHARACTERS:,} characters can be explained; this one has {len(text):,}."
        )
    with tenant_scope(deployment.tenant_id):
        route, weight = routes.route_of(deployment), tenant_allowance()[1]
    spans = spans_of(text, most_pieces(text, route.max_length))
    texts = [text, *(without(text, span) for span in spans)]
    asked = call_of(deployment, route, "classify", route.tokens_at_most([*texts, text]))
    heard, record = metered(
        asked, lambda engine: _ask(engine, deployment.tenant_id.hex, route, texts, weight), items=1, timeout=30
    )
    near: list[NearRow] = []
    missing: str | None = NOT_KEPT
    if heard.nearest is not None:
        near, missing = nearest_shown(
            tenant_id=deployment.tenant_id,
            project_id=deployment.project_id,
            version_id=route.dataset_version,
            labels=route.labels,
            found=heard.nearest,
        )
    best = max(range(len(route.labels)), key=heard.table[0].__getitem__)
    probability = heard.table[0][best]
    why = Why(
        label=route.labels[best],
        probability=probability,
        pieces=_pieces(text, spans, effects(probability, [row[best] for row in heard.table[1:]])),
        nearest=near,
        missing=missing,
        tokens=record.input_tokens,
        cost_nano=record.cost_nano,
    )
    # What the nearest rows say is the dataset's and goes with it, so none of it is kept here.
    said = {"label": why.label, "probability": probability, "words": [(one.text, one.effect) for one in why.words]}
    with tenant_scope(deployment.tenant_id):
        text_note(record, input=text, output=json.dumps(said, ensure_ascii=False))
    return why


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the engine said: a row of probabilities for each text, the nearest rows, and what was computed."""

    table: list[list[float]]
    nearest: Neighbours | None
    lengths: list[int]
    limit: int
    compute_us: int
    queue_us: int
    batch_rows: int


def _ask(engine: BlockingClient, tenant: str, route: Route, texts: list[str], weight: int) -> _Heard:
    """Probabilities of all texts, and the rows nearest to the first where the model keeps any."""
    model, source = route.version, route.place.source()
    engine.load(tenant=tenant, model=model, sha256=route.sha256, **source)
    result = engine.classify(tenant=tenant, model=model, texts=texts, weight=weight)
    lengths, compute_us, found = result.lengths, result.compute_us, None
    if NEIGHBOURS in route.place.names:
        whole = engine.embed(tenant=tenant, model=model, texts=texts[:1], weight=weight)
        lengths, compute_us = lengths + whole.lengths, compute_us + whole.compute_us
        found = engine.nearest(tenant=tenant, sha256=route.sha256, vector=whole.vectors, k=LOOKED_AT, **source)
    flat = array("f", result.probabilities).tolist()
    table = [flat[start : start + result.width] for start in range(0, len(flat), result.width)]
    return _Heard(table, found, lengths, result.limit, compute_us, result.queue_us, result.batch_rows)


def _pieces(text: str, spans: list[Span], added: list[float]) -> list[Piece]:
    """The whole text in pieces, the words among them with their effects."""
    pieces, at = [], 0
    for span, effect in zip(spans, added, strict=True):
        pieces += [Piece(text[at : span.start]), Piece(text[span.start : span.end], effect)]
        at = span.end
    return [piece for piece in [*pieces, Piece(text[at:])] if piece.text]
