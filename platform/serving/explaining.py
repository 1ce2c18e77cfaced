"""Why a deployment answers as it does, for the console's own pages: a call like any other, without a key."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from uuid import UUID

from billing.quotas import LONGEST_LIFE_MS
from billing.selectors.limits import tenant_allowance
from evaluation.occlusion import MAX_CHARACTERS, Search, Span, effects, most_readings, without
from evaluation.occlusion import Piece as LeftOut
from inference.artefact import NEIGHBOURS
from inference.client import BlockingClient
from inference.wire import Classified, Neighbours
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
    """A piece of the text, in order; `effect` is None for what stands between the words, `words` how many it has."""

    text: str
    effect: float | None = None
    words: int = 0


@dataclass(frozen=True, slots=True)
class Why:
    """The likeliest label, what each word added to its probability, the nearest rows, and what it took."""

    label: str
    probability: float
    pieces: list[Piece]
    readings: int
    nearest: list[NearRow]
    missing: str | None
    tokens: int
    cost_nano: int

    @property
    def in_segments(self) -> bool:
        """Whether any piece has more than one word."""
        return any(piece.words > 1 for piece in self.pieces)

    @property
    def words(self) -> list[Piece]:
        """The words, those with the largest effect first."""
        return sorted(
            (piece for piece in self.pieces if piece.effect is not None), key=lambda one: -abs(one.effect or 0)
        )


def texts_at_most(limit: int, text: str) -> int:
    """How many texts an explanation reads at most, none longer than the text itself; the model reads `limit` tokens."""
    return Search(text, most_readings(text, limit)).most_texts(vector=True)


def explanation_try(*, deployment: Deployment, text: str, user_id: UUID | None = None) -> Why:
    """Explain one text's answer: limited, metered, billed and logged as a call without a key, of the member `user_id`.

    Outside any scope, for the engine may take its time. Raises CallRefused before anything runs, and EngineError, which
    costs nothing; BadRequest for a text that is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(
            f"A text of at most {MAX_CHARACTERS:,} characters can be explained; this one has {len(text):,}."
        )
    with tenant_scope(deployment.tenant_id):
        route, weight = routes.route_of(deployment), tenant_allowance()[1]
    search = Search(text, most_readings(text, route.max_length))
    kept = NEIGHBOURS in route.place.names
    most = search.most_texts(vector=kept) * route.tokens_at_most([text])
    asked = call_of(deployment, route, "classify", most, user_id)
    heard, record = metered(
        asked,
        lambda engine: _ask(engine, deployment.tenant_id.hex, route, search, weight),
        items=1,
        timeout=30,
        life_ms=LONGEST_LIFE_MS,
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
    probability = heard.whole[heard.best]
    why = Why(
        label=route.labels[heard.best],
        probability=probability,
        pieces=_pieces(text, search.pieces),
        readings=search.readings,
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
    """What the engine said: the text's probabilities, where the best is, the nearest rows, and what was computed."""

    whole: list[float]
    best: int
    nearest: Neighbours | None
    lengths: list[int]
    limit: int
    compute_us: int
    queue_us: int
    batch_rows: int


def _ask(engine: BlockingClient, tenant: str, route: Route, search: Search, weight: int) -> _Heard:
    """Read the text without what the search asks for, and find the rows nearest to it where the model keeps any."""
    model, source, text = route.version, route.place.source(), search.text
    engine.load(tenant=tenant, model=model, sha256=route.sha256, **source)

    def lacking(spans: list[Span]) -> list[str]:
        return [without(text, span) for span in spans]

    first = engine.classify(tenant=tenant, model=model, texts=[text, *lacking(search.ask())], weight=weight)
    whole, *left = _table(first)
    best = max(range(len(whole)), key=whole.__getitem__)
    search.tell(effects(whole[best], [row[best] for row in left]))
    lengths, compute_us, found = list(first.lengths), first.compute_us, None
    while spans := search.ask():
        more = engine.classify(tenant=tenant, model=model, texts=lacking(spans), weight=weight)
        search.tell(effects(whole[best], [row[best] for row in _table(more)]))
        lengths, compute_us = lengths + more.lengths, compute_us + more.compute_us
    if NEIGHBOURS in route.place.names:
        vector = engine.embed(tenant=tenant, model=model, texts=[text], weight=weight)
        lengths, compute_us = lengths + vector.lengths, compute_us + vector.compute_us
        found = engine.nearest(tenant=tenant, sha256=route.sha256, vector=vector.vectors, k=LOOKED_AT, **source)
    return _Heard(whole, best, found, lengths, first.limit, compute_us, first.queue_us, first.batch_rows)


def _table(result: Classified) -> list[list[float]]:
    flat = array("f", result.probabilities).tolist()
    return [flat[start : start + result.width] for start in range(0, len(flat), result.width)]


def _pieces(text: str, left_out: list[LeftOut]) -> list[Piece]:
    """The whole text in pieces, the words among them with their effects."""
    pieces, at = [], 0
    for one in left_out:
        start, end = one.span.start, one.span.end
        pieces += [Piece(text[at:start]), Piece(text[start:end], one.effect, one.words)]
        at = end
    return [piece for piece in [*pieces, Piece(text[at:])] if piece.text]
