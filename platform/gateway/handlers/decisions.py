"""POST /v1/decisions: questions about one input, answered by the project's own trained head.

The input is computed once, whatever the number of questions. A choice without `choices` ranges over all labels; with
a subset the probabilities are renormalised over it. A predicate is the probability of one label.
"""

from __future__ import annotations

import msgspec

from gateway import bodies
from gateway.calls import Call
from gateway.handlers import rows
from gateway.wire import encode
from kit.errors import BadRequest
from serving.routes import Route

MAX_CHOICES = 255
SHOWN_LABELS = 50
_YES = frozenset({"true", "yes", "1", "positive", "pos"})
_NO = frozenset({"false", "no", "0", "negative", "neg"})


class ValueProbability(msgspec.Struct, gc=False):
    """A choice and how likely it is."""

    value: str | bool
    probability: float


class ChoiceAnswer(msgspec.Struct, gc=False):
    """The likeliest choice and all of them, likeliest first."""

    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ValueProbability]
    type: str = "choice"


class PredicateAnswer(msgspec.Struct, gc=False):
    """How likely the label is."""

    name: str | None
    probability: float
    type: str = "predicate"


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, bodies.Decisions)
    text = _text(body.input)
    route = await call.route(body.model, body)
    route.require_labels()
    plans = [_plan(question, route, f"questions[{index}]") for index, question in enumerate(body.questions)]
    result = await call.classify(route, [text], "decisions")
    row = rows.probabilities(result)[0]
    length = result.lengths[0]
    tokens = min(length, result.limit)
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
    if length > result.limit:
        usage["x_truncated_tokens"] = length - result.limit
    return encode({"model": route.model, "answers": [_answer(plan, row) for plan in plans], "usage": usage})


class _Plan(msgspec.Struct):
    """A question turned into places in the model's row of probabilities."""

    name: str | None
    places: list[int]
    values: list[str | bool] | None  # None for a predicate


def _plan(question: bodies.Question, route: Route, path: str) -> _Plan:
    if isinstance(question, bodies.Score):
        raise BadRequest(
            f"{path}: '{route.model}' is a classifier and gives no scores. Ask a choice or a predicate.",
            param=f"{path}.type",
        )
    if isinstance(question, bodies.Predicate):
        return _Plan(question.name, [_predicate_place(question, route, path)], None)
    if question.choices is None:
        return _Plan(question.name, list(range(len(route.labels))), list(route.labels))
    if not 2 <= len(question.choices) <= MAX_CHOICES:
        raise BadRequest(f"{path}.choices must hold 2 to {MAX_CHOICES} choices.", param=f"{path}.choices")
    values = [choice.value for choice in question.choices]
    places = [_place(value, route, f"{path}.choices[{i}].value") for i, value in enumerate(values)]
    if len(set(places)) != len(places):
        raise BadRequest(f"{path}.choices names a label twice.", param=f"{path}.choices")
    return _Plan(question.name, places, values)


def _place(value: str | bool, route: Route, path: str) -> int:
    """The place of a label; a boolean stands for the label that says so."""
    if isinstance(value, bool):
        spellings = (str(value), str(value).lower())
        found = next((route.places[word] for word in spellings if word in route.places), None)
    else:
        found = route.places.get(value)
    if found is None:
        raise BadRequest(f"{path}: the model knows no label {value!r}. {_known(route)}", param=path)
    return found


def _predicate_place(question: bodies.Predicate, route: Route, path: str) -> int:
    """A predicate is named after a label, quotes one in its instructions, or asks a yes/no model for its yes."""
    for words in (question.name, _instructions(question.instructions, path)):
        if words is not None and words in route.places:
            return route.places[words]
    if len(route.labels) == 2:
        lowered = [label.lower() for label in route.labels]
        for place in (0, 1):
            if lowered[place] in _YES and lowered[1 - place] in _NO:
                return place
    raise BadRequest(
        f"{path}: a predicate asks for one label of the model; set 'name' to it. {_known(route)}", param=f"{path}.name"
    )


def _known(route: Route) -> str:
    shown = ", ".join(route.labels[:SHOWN_LABELS])
    more = len(route.labels) - SHOWN_LABELS
    return f"Its labels: {shown}" + (f" and {more} more." if more > 0 else ".")


def _answer(plan: _Plan, row: list[float]) -> ChoiceAnswer | PredicateAnswer:
    if plan.values is None:
        return PredicateAnswer(plan.name, round(row[plan.places[0]], rows.DIGITS))
    chosen = [row[place] for place in plan.places]
    total = sum(chosen)
    share = [p / total for p in chosen] if total > 0 else [1 / len(chosen)] * len(chosen)
    order = sorted(range(len(share)), key=share.__getitem__, reverse=True)
    ranked = [
        ValueProbability(plan.values[i], value) for i, value in zip(order, rows.rounded(share, order), strict=True)
    ]
    return ChoiceAnswer(plan.name, ranked[0].value, ranked[0].probability, ranked)


def _instructions(value: bodies.Instructions, path: str) -> str:
    return value if isinstance(value, str) else _join(value, f"{path}.instructions")


def _text(value: str | list[bodies.Item]) -> str:
    """The input as one text: messages in order, a line between them."""
    if isinstance(value, str):
        text = value
    else:
        parts = [
            item.content if isinstance(item.content, str) else _join(item.content, f"input[{index}].content")
            for index, item in enumerate(value)
        ]
        text = "\n".join(parts)
    if not text or text.isspace():
        raise BadRequest("'input' is empty. Send a text.", param="input")
    return text


def _join(parts: list[bodies.Part], path: str) -> str:
    texts = []
    for index, part in enumerate(parts):
        if not isinstance(part, (bodies.Text, bodies.OutputText)):
            raise BadRequest(
                f"{path}[{index}]: this model reads text only; images, JSON parts and refusals cannot be sent to it.",
                param=f"{path}[{index}].type",
            )
        texts.append(part.text)
    return "\n".join(texts)
