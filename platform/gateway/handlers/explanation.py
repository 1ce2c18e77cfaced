"""`x_explain`: the words that decided and the nearest rows of the training data, in the answer's own metered call.

Everything is computed by the engine that answers, and paid for as tokens read: the text, the text without each piece,
and the text once more for its vector. The answer and the first pieces are one batch; what those changed decides which
pieces follow. As many readings as there may be are reserved beforehand at their upper bound, and what was read is
settled. The rows cost nothing: where they cannot be found or read, the answer says so and goes out without them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import msgspec

from billing.quotas import LONGEST_LIFE_MS
from evaluation.occlusion import MAX_CHARACTERS, Piece, Search, Span, effects, most_readings, without
from gateway import database, reading
from gateway.calls import Call
from gateway.handlers import rows
from inference.artefact import NEIGHBOURS
from inference.errors import EngineError
from inference.wire import Classified, Neighbours
from kit.errors import BadRequest, Unavailable
from serving import training_rows
from serving.routes import Route
from serving.training_rows import LOOKED_AT, NOT_KEPT, NOT_SEARCHED, UNKNOWN, NearRow

log = logging.getLogger(__name__)


class Word(msgspec.Struct, gc=False):
    """A piece of the text, of so many words, and how much less likely the label is without it."""

    text: str
    start: int
    end: int
    effect: float
    words: int


class Explanation(msgspec.Struct, gc=False):
    """Why the likeliest label is what it is. `tokens` were read for it, beside the text itself. `segments` were left
    out as a whole and then looked into; the smallest pieces are `words`."""

    label: str
    probability: float
    words: list[Word]
    segments: list[Word]
    readings: int
    nearest: list[NearRow]
    nearest_missing: str | None
    tokens: int
    ms: int
    method: str = "occlusion"


@dataclass(frozen=True, slots=True)
class _Computed:
    """Probabilities of a text (the first row), the likeliest label's place, and the rows nearest to it, or why there
    are none. `lengths` are of everything that was computed."""

    classified: Classified
    best: int
    nearest: Neighbours | None
    missing: str | None
    lengths: list[int]
    limit: int
    compute_us: int
    queue_us: int
    batch_rows: int


def check_one(texts: list[str]) -> str:
    """The one text that a call explains."""
    if len(texts) > 1:
        raise BadRequest(
            f"'x_explain' explains one text a call; 'input' holds {len(texts)}. Send them one by one, or without it.",
            param="x_explain",
        )
    return texts[0]


async def explain(call: Call, route: Route, text: str, kind: str) -> tuple[Classified, Explanation]:
    """The model's answer for the text (the first row of what is returned) and why it is so."""
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(
            f"'x_explain' reads texts of at most {MAX_CHARACTERS:,} characters; this one has {len(text):,}.",
            param="x_explain",
        )
    began = time.perf_counter()
    call.note.explained = True
    search = Search(text, most_readings(text, route.max_length))
    kept = NEIGHBOURS in route.place.names
    tokens = search.most_texts(vector=kept) * route.tokens_at_most([text])
    found = await call.metered(kind, route.model, tokens, _computed(call, route, search, kept), life_ms=LONGEST_LIFE_MS)
    call.note.items = 1
    near: list[NearRow] = []
    missing = found.missing
    if found.nearest is not None:
        near, missing = await _shown(call, route, found.nearest)
    return found.classified, Explanation(
        label=route.labels[found.best],
        probability=round(rows.probabilities(found.classified)[0][found.best], rows.DIGITS),
        words=_words(text, search.pieces),
        segments=_words(text, search.segments),
        readings=search.readings,
        nearest=near,
        nearest_missing=missing,
        tokens=rows.used_tokens(found.lengths[1:], found.limit),
        ms=round((time.perf_counter() - began) * 1000),
    )


async def _computed(call: Call, route: Route, search: Search, kept: bool) -> _Computed:
    """Ask the engine for all of it; for the nearest rows only of a model that keeps any."""
    text = search.text
    tenant, model, weight, trace = call.key.tenant, route.version, call.key.weight, call.trace.traceparent

    async def judged(texts: list[str]) -> Classified:
        found: Classified = await call.resident(
            route, lambda engine: engine.classify(tenant=tenant, model=model, texts=texts, weight=weight, trace=trace)
        )
        return found

    def lacking(spans: list[Span]) -> list[str]:
        return [without(text, span) for span in spans]

    classified = await judged([text, *lacking(search.ask())])
    whole, *left = rows.probabilities(classified)
    best = max(range(len(whole)), key=whole.__getitem__)
    search.tell(effects(whole[best], [row[best] for row in left]))
    lengths, compute_us = list(classified.lengths), classified.compute_us
    while spans := search.ask():
        more = await judged(lacking(spans))
        search.tell(effects(whole[best], [row[best] for row in rows.probabilities(more)]))
        lengths, compute_us = lengths + more.lengths, compute_us + more.compute_us
    nearest: Neighbours | None = None
    missing: str | None = NOT_KEPT
    if kept:
        embedded = await call.resident(
            route, lambda engine: engine.embed(tenant=tenant, model=model, texts=[text], weight=weight, trace=trace)
        )
        lengths, compute_us = lengths + embedded.lengths, compute_us + embedded.compute_us
        nearest = await _nearest(call, route, embedded.vectors)
        missing = None if nearest is not None else NOT_SEARCHED
    return _Computed(
        classified,
        best,
        nearest,
        missing,
        lengths,
        classified.limit,
        compute_us,
        classified.queue_us,
        classified.batch_rows,
    )


async def _nearest(call: Call, route: Route, vector: bytes) -> Neighbours | None:
    """The rows nearest to a vector; None where the engine could not say. The rest of the explanation needs them not."""
    tenant, sha256, source = call.key.tenant, route.sha256, await asyncio.to_thread(route.place.source)
    try:
        found: Neighbours = await call.resident(
            route,
            lambda engine: engine.nearest(tenant=tenant, sha256=sha256, vector=vector, k=LOOKED_AT, **source),
        )
    except (EngineError, Unavailable) as error:
        log.warning("the rows nearest to a text of %s could not be searched: %s", route.model, error)
        return None
    return found


async def _shown(call: Call, route: Route, found: Neighbours) -> tuple[list[NearRow], str | None]:
    """Of the rows found, those that may be shown, and why others are not. Nothing that is away makes this fail: the
    answer is paid for."""
    record = call.key.record
    try:
        version = await database.ask(
            lambda: training_rows.version_shown(
                tenant_id=record.tenant_id, project_id=record.project_id, version_id=route.dataset_version
            )
        )
    except Exception:
        log.warning("the dataset of %s cannot be looked up", route.model, exc_info=True)
        return [], UNKNOWN
    try:
        shown = await reading.read(call.key.tenant, lambda: training_rows.texts_shown(version, found.rows))
    except TimeoutError:
        log.warning("the dataset of %s was not read in time", route.model)
        shown = training_rows.unread(found.rows)
    return training_rows.near_rows(route.labels, found, shown)


def _words(text: str, pieces: list[Piece]) -> list[Word]:
    return [
        Word(
            text[one.span.start : one.span.end],
            one.span.start,
            one.span.end,
            round(one.effect, rows.DIGITS),
            one.words,
        )
        for one in pieces
    ]
