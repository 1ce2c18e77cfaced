"""POST /v1/classify: the probability of every label, for a text or a list of texts."""

from __future__ import annotations

import msgspec

from gateway import bodies
from gateway.calls import Call
from gateway.handlers import rows
from gateway.wire import encode


class Probability(msgspec.Struct, gc=False):
    """A label and how likely it is."""

    label: str
    probability: float


class Prediction(msgspec.Struct, omit_defaults=True, gc=False):
    """The answer for one text. `x_truncated_tokens` is there only if the text was cut, and says by how much."""

    index: int
    label: str
    confidence: float
    probabilities: list[Probability]
    x_truncated_tokens: int = 0


class Usage(msgspec.Struct, omit_defaults=True, gc=False):
    """What was read; `x_truncated_inputs` counts texts over the model's limit."""

    input_tokens: int
    total_tokens: int
    x_truncated_inputs: int = 0


class Answer(msgspec.Struct, gc=False):
    """The list on the wire."""

    model: str
    data: list[Prediction]
    usage: Usage
    object: str = "list"


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, bodies.Classify)
    texts = bodies.texts_of(body.input)
    route = await call.route(body.model, body)
    route.require_labels()
    result = await call.classify(route, texts, "classify")
    data = [
        _prediction(index, row, route.labels, body.top_k, result.lengths[index] - result.limit)
        for index, row in enumerate(rows.probabilities(result))
    ]
    tokens = rows.used_tokens(result.lengths, result.limit)
    usage = Usage(tokens, tokens, rows.cut(result.lengths, result.limit))
    return encode(Answer(route.model, data, usage))


def _prediction(index: int, row: list[float], labels: tuple[str, ...], top_k: int | None, over: int) -> Prediction:
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:top_k]
    ranked = [Probability(labels[i], value) for i, value in zip(order, rows.rounded(row, order), strict=True)]
    return Prediction(index, ranked[0].label, ranked[0].probability, ranked, max(over, 0))
