"""POST /v1/classify: the probability of every label, for a text or a list of texts."""

from __future__ import annotations

import msgspec

from gateway import bodies
from gateway.calls import Call
from gateway.handlers import abstaining, rows
from gateway.handlers.explanation import Explanation, check_one, explain
from gateway.wire import encode
from serving.abstaining import Rule


class Probability(msgspec.Struct, gc=False):
    """A label and how likely it is."""

    label: str
    probability: float


class Prediction(msgspec.Struct, omit_defaults=True, gc=False):
    """The answer for one text. `x_truncated_tokens` is there only if the text was cut, and says by how much; `x_reason`
    only where the model abstained, and `label` is null then."""

    index: int
    label: str | None
    confidence: float
    probabilities: list[Probability]
    x_truncated_tokens: int = 0
    x_reason: str = ""
    x_explain: Explanation | None = None


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
    x_abstain: abstaining.Applied | msgspec.UnsetType = msgspec.UNSET


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, bodies.Classify)
    texts = bodies.texts_of(body.input)
    route = await call.route(body.model, body)
    route.require_labels()
    rule = abstaining.rule_of(body.x_abstain, route)
    explanation = None
    if body.x_explain:
        result, explanation = await explain(call, route, check_one(texts), "classify")
    else:
        result = await call.classify(route, texts, "classify")
    data = [
        prediction(index, row, route.labels, body.top_k, result.lengths[index] - result.limit, rule)
        for index, row in enumerate(rows.probabilities(result)[: len(texts)])
    ]
    lengths = result.lengths[: len(texts)]
    tokens = rows.used_tokens(lengths, result.limit)
    if explanation is not None:
        data[0].x_explain = explanation
        tokens += explanation.tokens
    usage = Usage(tokens, tokens, rows.cut(lengths, result.limit))
    answer = Answer(route.model, data, usage)
    if rule is not None:
        answer.x_abstain = abstaining.applied(rule)
    return encode(answer)


def prediction(
    index: int, row: list[float], labels: tuple[str, ...], top_k: int | None, over: int, rule: Rule | None
) -> Prediction:
    """What is answered for one row of probabilities; `over` are the tokens that were cut off its text, if above 0."""
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:top_k]
    ranked = [Probability(labels[i], value) for i, value in zip(order, rows.rounded(row, order), strict=True)]
    found = Prediction(index, ranked[0].label, ranked[0].probability, ranked, max(over, 0))
    if not abstaining.passes(rule, row):
        found.label, found.x_reason = None, abstaining.BELOW
    return found
