"""`x_explain`: the words that decided and the nearest rows of the training data, in the answer's own metered call.

Everything is computed by the engine that answers, and paid for as tokens read: the text, the text without each piece,
and the text once more for its vector. All of it is reserved beforehand at its upper bound.
"""

from __future__ import annotations

import time

import msgspec

from evaluation.occlusion import MAX_CHARACTERS, Span, effects, most_pieces, spans_of, without
from gateway import database
from gateway.calls import Call
from gateway.handlers import rows
from inference.artefact import NEIGHBOURS
from inference.wire import Classified
from kit.errors import BadRequest
from serving.routes import Route
from serving.training_rows import LOOKED_AT, NOT_KEPT, NearRow, nearest_shown


class Word(msgspec.Struct, gc=False):
    """A piece of the text, and how much less likely the label is without it."""

    text: str
    start: int
    end: int
    effect: float


class Explanation(msgspec.Struct, gc=False):
    """Why the likeliest label is what it is. `tokens` were read for it, beside the text itself."""

    label: str
    probability: float
    words: list[Word]
    nearest: list[NearRow]
    nearest_missing: str | None
    tokens: int
    ms: int
    method: str = "occlusion"


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
    spans = spans_of(text, most_pieces(text, route.max_length))
    kept = NEIGHBOURS in route.place.names
    found = await call.explain(route, [text, *(without(text, span) for span in spans)], kind, LOOKED_AT if kept else 0)
    table = rows.probabilities(found.classified)
    best = max(range(len(table[0])), key=table[0].__getitem__)
    near: list[NearRow] = []
    missing: str | None = NOT_KEPT
    if (rows_found := found.nearest) is not None:
        record = call.key.record
        near, missing = await database.ask(
            lambda: nearest_shown(
                tenant_id=record.tenant_id,
                project_id=record.project_id,
                version_id=route.dataset_version,
                labels=route.labels,
                found=rows_found,
            )
        )
    return found.classified, Explanation(
        label=route.labels[best],
        probability=round(table[0][best], rows.DIGITS),
        words=_words(text, spans, table[0][best], [row[best] for row in table[1:]]),
        nearest=near,
        nearest_missing=missing,
        tokens=rows.used_tokens(found.lengths[1:], found.limit),
        ms=round((time.perf_counter() - began) * 1000),
    )


def _words(text: str, spans: list[Span], whole: float, left: list[float]) -> list[Word]:
    return [
        Word(text[span.start : span.end], span.start, span.end, round(effect, rows.DIGITS))
        for span, effect in zip(spans, effects(whole, left), strict=True)
    ]
