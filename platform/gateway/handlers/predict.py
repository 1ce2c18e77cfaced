"""POST /v1/predict: one door for whatever a deployed model was trained for. The model's task decides what is answered.

Each task has a function that takes the input apart, asks the engine, and words the answers; usage is counted alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec

from gateway import bodies
from gateway.calls import Call
from gateway.handlers import abstaining, rows
from gateway.handlers.classify import Usage, prediction
from gateway.wire import encode
from inference.tasks import ANSWERS, CLASSIFICATION, MULTI_LABEL, REGRESSION, RERANK, TOKENS
from kit.errors import BadRequest
from serving.routes import Route

THRESHOLD = 0.5
MAX_ANSWERS = 20
KIND = "classify"
"""What it is metered as: text read by a trained head."""


class Predict(bodies.Body, frozen=True):
    """POST /v1/predict."""

    model: bodies.Name
    input: Any
    top_k: bodies.TopK | None = None
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    user: bodies.Short | None = None
    x_abstain: bodies.Abstain | bool | None = None


class Chance(msgspec.Struct, gc=False):
    """A label, how likely it is by itself, and whether that reaches the threshold."""

    label: str
    probability: float
    chosen: bool


class Several(msgspec.Struct, omit_defaults=True, gc=False):
    """Any number of labels."""

    index: int
    labels: list[str]
    probabilities: list[Chance]
    threshold: float
    x_truncated_tokens: int = 0


class Quantity(msgspec.Struct, gc=False):
    """A number and what it is of."""

    name: str
    value: float


class Quantities(msgspec.Struct, omit_defaults=True, gc=False):
    """The numbers of one text; `value` is the first."""

    index: int
    value: float
    values: list[Quantity]
    x_truncated_tokens: int = 0


class Entity(msgspec.Struct, gc=False):
    """What a text names, in characters from `start` to before `end`."""

    label: str
    start: int
    end: int
    text: str
    score: float


class Entities(msgspec.Struct, gc=False):
    """All of one text, in order."""

    index: int
    entities: list[Entity]


class Found(msgspec.Struct, gc=False):
    """An answer, in characters of the context from `start` to before `end`."""

    text: str
    start: int
    end: int
    score: float


class Answers(msgspec.Struct, gc=False):
    """Those of one question, likeliest first."""

    index: int
    answers: list[Found]
    no_answer_probability: float


class Score(msgspec.Struct, omit_defaults=True, gc=False):
    """How well a document answers its query."""

    index: int
    score: float
    x_truncated_tokens: int = 0


class Answer(msgspec.Struct, gc=False):
    """The list on the wire."""

    model: str
    task: str
    data: list[Any]
    usage: Usage
    object: str = "list"
    x_abstain: abstaining.Applied | msgspec.UnsetType = msgspec.UNSET


class Question(bodies.Body, frozen=True):
    """A question and the text that may hold its answer."""

    question: str
    context: str


class Pair(bodies.Body, frozen=True):
    """A query and a document."""

    query: str
    document: str


Result = tuple[list[Any], list[int], int]
"""What is answered, the tokens of each text, and how many of them are read at most."""


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, Predict)
    route = await call.route(body.model, body)
    route.require_task(*TASKS)
    _check_wishes(body, route)
    rule = abstaining.rule_of(body.x_abstain, route) if route.task == CLASSIFICATION else None
    data, lengths, limit = await TASKS[route.task](call, route, body)
    tokens = rows.used_tokens(lengths, limit)
    answer = Answer(route.model, route.task, data, Usage(tokens, tokens, rows.cut(lengths, limit)))
    if rule is not None:
        answer.x_abstain = abstaining.applied(rule)
    return encode(answer)


def _check_wishes(body: Predict, route: Route) -> None:
    """Refuse by name what the model's task does not know."""
    if body.threshold is not None and route.task != MULTI_LABEL:
        raise BadRequest(
            f"'threshold' decides which of several labels hold; '{route.model}' is for {route.task}. Leave it out.",
            param="threshold",
        )
    if body.x_abstain and route.task != CLASSIFICATION:
        raise BadRequest(
            f"'x_abstain' goes by the probability of the one label that is answered; '{route.model}' is for "
            f"{route.task}. Leave it out.",
            param="x_abstain",
        )
    if body.top_k is None:
        return
    if route.task not in (CLASSIFICATION, MULTI_LABEL, ANSWERS):
        raise BadRequest(
            f"'top_k' limits labels or answers; '{route.model}' is for {route.task}. Leave it out.", param="top_k"
        )
    if route.task == ANSWERS and body.top_k > MAX_ANSWERS:
        raise BadRequest(f"'top_k' may be 1 to {MAX_ANSWERS} where questions are answered.", param="top_k")


async def _label(call: Call, route: Route, body: Predict) -> Result:
    rule = abstaining.rule_of(body.x_abstain, route)
    result = await call.classify(route, texts_of(body.input), KIND)
    data = [
        prediction(index, row, route.labels, body.top_k, result.lengths[index] - result.limit, rule)
        for index, row in enumerate(rows.probabilities(result))
    ]
    return data, result.lengths, result.limit


async def _several(call: Call, route: Route, body: Predict) -> Result:
    threshold = THRESHOLD if body.threshold is None else body.threshold
    result = await call.classify(route, texts_of(body.input), KIND, threshold)
    data = []
    for index, row in enumerate(rows.probabilities(result)):
        order = sorted(range(len(row)), key=row.__getitem__, reverse=True)
        chances = [
            Chance(route.labels[i], p, row[i] >= threshold)
            for i, p in zip(order, rows.rounded(row, order), strict=True)
        ]
        chosen = [one.label for one in chances if one.chosen]
        over = max(result.lengths[index] - result.limit, 0)
        data.append(Several(index, chosen, chances[: body.top_k], threshold, over))
    return data, result.lengths, result.limit


async def _measure(call: Call, route: Route, body: Predict) -> Result:
    result = await call.classify(route, texts_of(body.input), KIND)
    data = [
        Quantities(
            index, row[0], [Quantity(*one) for one in zip(route.labels, row, strict=True)],
            max(result.lengths[index] - result.limit, 0),
        )
        for index, row in enumerate(rows.probabilities(result))
    ]  # fmt: skip
    return data, result.lengths, result.limit


async def _tag(call: Call, route: Route, body: Predict) -> Result:
    texts = texts_of(body.input)
    result = await call.tag(route, texts, KIND)
    data = [
        Entities(index, [Entity(e.label, e.start, e.end, text[e.start : e.end], _round(e.score)) for e in found])
        for index, (text, found) in enumerate(zip(texts, result.entities, strict=True))
    ]
    return data, result.lengths, result.limit


async def _answer(call: Call, route: Route, body: Predict) -> Result:
    asked = [(one.question, one.context) for one in _pairs(body.input, Question)]
    result = await call.ask(route, asked, body.top_k or 1, KIND)
    data = [
        Answers(
            index,
            [Found(context[one.start : one.end], one.start, one.end, _round(one.score)) for one in spans],
            _round(nothing),
        )
        for index, ((_, context), spans, nothing) in enumerate(zip(asked, result.spans, result.nothing, strict=True))
    ]
    return data, result.lengths, result.limit


async def _score(call: Call, route: Route, body: Predict) -> Result:
    pairs = _pairs(body.input, Pair)
    if len({one.query for one in pairs}) > 1:
        raise BadRequest("All documents of one request are scored for one 'query'. Send another request for another.",
                         param="input")  # fmt: skip
    result = await call.rank(route, pairs[0].query, [one.document for one in pairs])
    data = [
        Score(index, _round(row[0]), max(result.lengths[index] - result.limit, 0))
        for index, row in enumerate(rows.probabilities(result))
    ]
    return data, result.lengths, result.limit


TASKS: dict[str, Callable[[Call, Route, Predict], Awaitable[Result]]] = {
    CLASSIFICATION: _label,
    MULTI_LABEL: _several,
    REGRESSION: _measure,
    TOKENS: _tag,
    ANSWERS: _answer,
    RERANK: _score,
}


def texts_of(value: Any) -> list[str]:
    """`input` as one to 2,048 texts. BadRequest names what is no text."""
    if isinstance(value, list):
        for index, item in enumerate(value[: bodies.MAX_INPUTS]):
            if not isinstance(item, str):
                raise BadRequest(
                    f"'input[{index}]' must be a text: this model reads text only, no images, tokens or objects.",
                    param=f"input[{index}]",
                )
        return bodies.texts_of(value)
    if isinstance(value, str):
        return bodies.texts_of(value)
    raise BadRequest("'input' must be a text or a list of texts.", param="input")


def _pairs(value: Any, kind: type[Any]) -> list[Any]:
    """`input` as one to 2,048 objects of two texts, none of them empty."""
    fields = " and ".join(f"'{name}'" for name in kind.__struct_fields__)
    items = value if isinstance(value, list) else [value]
    if not items:
        raise BadRequest(f"'input' must hold at least one object of {fields}.", param="input")
    if len(items) > bodies.MAX_INPUTS:
        raise BadRequest(
            f"'input' holds {len(items)} objects; at most {bodies.MAX_INPUTS} go in one request.", param="input"
        )
    found = []
    for index, item in enumerate(items):
        path = f"input[{index}]" if isinstance(value, list) else "input"
        if not isinstance(item, dict):
            raise BadRequest(f"'{path}' must be an object of two texts, {fields}.", param=path)
        for name in kind.__struct_fields__:
            text = item.get(name)
            if not isinstance(text, str) or not text or text.isspace():
                what = "is empty. Send a text." if isinstance(text, str) else "must be a text."
                raise BadRequest(f"'{path}.{name}' {what}", param=f"{path}.{name}")
        if odd := sorted(item.keys() - set(kind.__struct_fields__)):
            raise BadRequest(f"Unknown field '{path}.{odd[0][:80]}': it takes {fields}.", param=f"{path}.{odd[0][:80]}")
        found.append(kind(**item))
    return found


def _round(value: float) -> float:
    return round(value, rows.DIGITS)
