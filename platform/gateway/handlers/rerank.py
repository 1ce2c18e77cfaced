"""POST /v1/rerank: documents in the order of their nearness to a query, in the shape that Cohere and Jina gave it.

A cross-encoder reads query and document together, and its score is a chance; of a base or any other model that reads,
the score is the cosine of the vectors of both, embedded in one call. `x_method` says which it was.
"""

from __future__ import annotations

from operator import mul
from typing import Annotated, Any

import msgspec

from gateway import bodies
from gateway.calls import Call
from gateway.handlers import rows
from gateway.wire import encode
from inference.tasks import RERANK
from inference.wire import Classified, Embedded
from kit.errors import BadRequest

MAX_DOCUMENTS = 1000
COSINE, CROSS_ENCODER = "cosine", "cross-encoder"


class Document(bodies.Body, frozen=True):
    """A document with its text under a name."""

    text: str


class Rerank(bodies.Body, frozen=True):
    """POST /v1/rerank."""

    model: bodies.Name
    query: str
    documents: list[str | Document]
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool = False
    user: bodies.Short | None = None


class Result(msgspec.Struct, omit_defaults=True, gc=False):
    """A document's place in the request, and how near it is to the query: 0 to 1, or by cosine -1 to 1."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class Answer(msgspec.Struct, gc=False):
    """Nearest first."""

    model: str
    results: list[Result]
    usage: dict[str, Any]
    x_method: str
    object: str = "list"


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, Rerank)
    texts = [body.query, *(_text(document) for document in body.documents)]
    _check(texts)
    route = await call.route(body.model, body)
    route.require_reader()
    result: Classified | Embedded
    if route.task == RERANK and route.version:
        result = await call.rank(route, texts[0], texts[1:])
        method, scores = CROSS_ENCODER, [row[0] for row in rows.probabilities(result)]
    else:
        result = await call.embed(route, texts, kind="rerank")
        query, *documents = rows.floats(result.vectors, result.width)
        method, scores = COSINE, [sum(map(mul, query, vector)) for vector in documents]
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[: body.top_n]
    results = [
        Result(
            index,
            round(scores[index], rows.DIGITS),
            {"text": texts[index + 1]} if body.return_documents else None,
        )
        for index in order
    ]
    tokens = rows.used_tokens(result.lengths, result.limit)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    if over := rows.cut(result.lengths, result.limit):
        usage["x_truncated_inputs"] = over
    return encode(Answer(route.model, results, usage, method))


def _text(document: str | Document) -> str:
    return document if isinstance(document, str) else document.text


def _check(texts: list[str]) -> None:
    """A query and 1 to MAX_DOCUMENTS documents, none of them empty."""
    count = len(texts) - 1
    if not count:
        raise BadRequest("'documents' must hold at least one document.", param="documents")
    if count > MAX_DOCUMENTS:
        raise BadRequest(
            f"'documents' holds {count} documents; at most {MAX_DOCUMENTS} go in one request.", param="documents"
        )
    for index, text in enumerate(texts):
        if not text or text.isspace():
            param = "query" if not index else f"documents[{index - 1}]"
            raise BadRequest(f"'{param}' is empty. Send a text.", param=param)
