"""POST /v1/embeddings, as the official client calls it: base64 of little-endian float32 unless floats are asked for."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from gateway import bodies
from gateway.calls import Call
from gateway.errors import Unsupported
from gateway.handlers import rows
from gateway.wire import encode
from inference.wire import Embedded
from kit.errors import BadRequest


class Embedding(msgspec.Struct, gc=False):
    """One vector: base64 text or a list of numbers."""

    index: int
    embedding: Any
    object: str = "embedding"


class Usage(msgspec.Struct, omit_defaults=True, gc=False):
    """What was read; `x_truncated_inputs` counts texts over the model's limit."""

    prompt_tokens: int
    total_tokens: int
    x_truncated_inputs: int = 0


class Answer(msgspec.Struct, gc=False):
    """The list on the wire."""

    data: list[Embedding]
    model: str
    usage: Usage
    object: str = "list"


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, bodies.Embeddings)
    texts = bodies.texts_of(_texts(body.input))
    route = await call.route(body.model, body)
    route.require_reader()
    result = await call.embed(route, texts, body.dimensions or 0)
    tokens = rows.used_tokens(result.lengths, result.limit)
    usage = Usage(tokens, tokens, rows.cut(result.lengths, result.limit))
    vectors = _base64(result) if body.encoding_format == "base64" else _floats(result)
    return encode(Answer([Embedding(index, vector) for index, vector in enumerate(vectors)], route.model, usage))


def _texts(value: Any) -> str | list[str]:
    """`input` as text. Token arrays are refused: they are another vocabulary's numbers."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, (int, list)) and not isinstance(item, bool):
                raise Unsupported(
                    "'input' holds token numbers. Send text: this model has its own tokens.", param="input"
                )
            if not isinstance(item, str):
                raise BadRequest(f"'input[{index}]' must be a text.", param=f"input[{index}]")
        return value
    raise BadRequest("'input' must be a text or a list of texts.", param="input")


def _base64(result: Embedded) -> list[str]:
    size = result.width * 4
    raw = result.vectors
    return [base64.b64encode(raw[start : start + size]).decode() for start in range(0, len(raw), size)]


def _floats(result: Embedded) -> list[list[float]]:
    return rows.floats(result.vectors, result.width)
