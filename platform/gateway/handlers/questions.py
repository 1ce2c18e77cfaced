"""The questions of a decision, as places in the model's row of probabilities, and their answers.

A choice without `choices` ranges over all labels; with a subset the probabilities are renormalised over it. A predicate
is the probability of one label. A score is the expected value over ordered levels, which are labels of the model too:
where every level is a whole number those are the values, and else they count from 1. A model for regression has no
labels but quantities: its score is the number itself, of no levels, and how sure it is nobody knows.

Under a rule of abstention a choice or a score is refused unless the likeliest of all labels is among those it may take
and reaches the threshold. A predicate says how sure it is by itself.
"""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec

from gateway import bodies
from gateway.errors import Unsupported
from gateway.handlers import abstaining, rows
from inference.tasks import REGRESSION
from kit.errors import BadRequest
from serving.abstaining import Rule
from serving.routes import Route

MAX_CHOICES = 255
MAX_LEVELS = 10
SHOWN_LABELS = 50
_YES = frozenset({"true", "yes", "1", "positive", "pos"})
_NO = frozenset({"false", "no", "0", "negative", "neg"})
_WHOLE = re.compile(r"-?[0-9]{1,9}")


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


class LevelProbability(msgspec.Struct, gc=False):
    """A level, what it counts, and how likely it is."""

    value: int
    label: str
    probability: float


class ScoreAnswer(msgspec.Struct, gc=False):
    """The mean of the levels' values, weighted by their probabilities; `confidence` is that of the likeliest level.
    Or a quantity, without levels and with confidence 0: the official client wants a number there."""

    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]
    type: str = "score"


class RefusalAnswer(msgspec.Struct, gc=False):
    """The model is not sure enough. `x_confidence` is the probability of its likeliest label."""

    name: str | None
    x_confidence: float
    x_reason: str = abstaining.BELOW
    type: str = "refusal"


Answer = ChoiceAnswer | PredicateAnswer | ScoreAnswer | RefusalAnswer


class ChoicePlan(msgspec.Struct):
    """Places of a choice's labels, and what the client calls them."""

    name: str | None
    places: list[int]
    values: list[str | bool]


class PredicatePlan(msgspec.Struct):
    """The place of one label."""

    name: str | None
    place: int


class ScorePlan(msgspec.Struct):
    """Places of the levels, lowest first, and what each counts."""

    name: str | None
    places: list[int]
    labels: list[str]
    values: list[int]


class QuantityPlan(msgspec.Struct):
    """The place of a quantity."""

    name: str | None
    place: int


Plan = ChoicePlan | PredicatePlan | ScorePlan | QuantityPlan


def plan(question: bodies.Question, route: Route, path: str) -> Plan:
    """A question of a body, ready to be answered. BadRequest names what of it the model cannot answer."""
    joined_instructions = _instructions(question.instructions, path)
    if route.task == REGRESSION:
        return _quantity_plan(question, joined_instructions, route, path)
    if isinstance(question, bodies.Score):
        return _score_plan(question, route, path)
    if isinstance(question, bodies.Predicate):
        return PredicatePlan(question.name, _predicate_place(question.name, joined_instructions, route, path))
    if question.choices is None:
        return ChoicePlan(question.name, list(range(len(route.labels))), list(route.labels))
    if not 2 <= len(question.choices) <= MAX_CHOICES:
        raise BadRequest(f"{path}.choices must hold 2 to {MAX_CHOICES} choices.", param=f"{path}.choices")
    values = [choice.value for choice in question.choices]
    places = [_place(value, route, f"{path}.choices[{i}].value") for i, value in enumerate(values)]
    if len(set(places)) != len(places):
        raise BadRequest(f"{path}.choices names a label twice.", param=f"{path}.choices")
    return ChoicePlan(question.name, places, values)


def answer(asked: Plan, row: list[float], rule: Rule | None) -> Answer:
    """The answer of a row of probabilities over all labels, or of quantities."""
    if isinstance(asked, QuantityPlan):
        return ScoreAnswer(asked.name, row[asked.place], 0.0, [])
    if isinstance(asked, PredicatePlan):
        return PredicateAnswer(asked.name, round(row[asked.place], rows.DIGITS))
    sure = max(row)
    if rule is not None and (sure < rule.threshold or all(row[place] < sure for place in asked.places)):
        return RefusalAnswer(asked.name, round(sure, rows.DIGITS))
    share = _share(row, asked.places)
    if isinstance(asked, ScorePlan):
        score = sum(value * part for value, part in zip(asked.values, share, strict=True))
        shown = rows.rounded(share, list(range(len(share))))
        levels = [
            LevelProbability(value, label, part)
            for value, label, part in zip(asked.values, asked.labels, shown, strict=True)
        ]
        return ScoreAnswer(asked.name, round(score, rows.DIGITS), max(shown), levels)
    order = sorted(range(len(share)), key=share.__getitem__, reverse=True)
    ranked = [
        ValueProbability(asked.values[i], value) for i, value in zip(order, rows.rounded(share, order), strict=True)
    ]
    return ChoiceAnswer(asked.name, ranked[0].value, ranked[0].probability, ranked)


def joined(parts: list[bodies.Part], path: str) -> str:
    """Parts of text as one, a line between them. BadRequest for parts of any other kind."""
    texts = []
    for index, part in enumerate(parts):
        if not isinstance(part, (bodies.Text, bodies.OutputText)):
            raise Unsupported(
                f"{path}[{index}]: this model reads text only; images, JSON parts and refusals cannot be sent to it.",
                param=f"{path}[{index}].type",
            )
        texts.append(part.text)
    return "\n".join(texts)


def _share(row: list[float], places: list[int]) -> list[float]:
    """The probabilities of some labels, renormalised over them."""
    chosen = [row[place] for place in places]
    total = sum(chosen)
    return [p / total for p in chosen] if total > 0 else [1 / len(chosen)] * len(chosen)


def _score_plan(question: bodies.Score, route: Route, path: str) -> ScorePlan:
    if question.levels is None:
        if not all(map(_WHOLE.fullmatch, route.labels)):
            raise BadRequest(
                f"{path}: the labels of '{route.model}' are not whole numbers, so 'levels' must say their order, the "
                f"lowest first. {_known(route)}",
                param=f"{path}.levels",
            )
        labels = sorted(route.labels, key=int)
    else:
        labels = [level.label for level in question.levels]
    if not 2 <= len(labels) <= MAX_LEVELS:
        raise BadRequest(f"{path}.levels must hold 2 to {MAX_LEVELS} levels.", param=f"{path}.levels")
    places = [_place(label, route, f"{path}.levels[{i}].label") for i, label in enumerate(labels)]
    if len(set(places)) != len(places):
        raise BadRequest(f"{path}.levels names a label twice.", param=f"{path}.levels")
    values = list(range(1, len(labels) + 1))
    if all(map(_WHOLE.fullmatch, labels)):
        values = [int(label) for label in labels]
        if any(low >= high for low, high in pairwise(values)):
            raise BadRequest(f"{path}.levels must rise: the lowest level comes first.", param=f"{path}.levels")
    return ScorePlan(question.name, places, labels, values)


def _quantity_plan(question: bodies.Question, instructions: str, route: Route, path: str) -> QuantityPlan:
    """A score of a model for regression: of its one quantity, or of the one that the question names."""
    if not isinstance(question, bodies.Score):
        raise BadRequest(
            f"{path}: '{route.model}' gives quantities and has no labels to choose among. Ask it for a 'score'.",
            param=f"{path}.type",
        )
    if question.levels is not None:
        raise BadRequest(
            f"{path}.levels: '{route.model}' gives the number itself and knows no levels. Leave them out.",
            param=f"{path}.levels",
        )
    for words in (question.name, instructions):
        if words is not None and words in route.places:
            return QuantityPlan(question.name, route.places[words])
    if len(route.labels) == 1:
        return QuantityPlan(question.name, 0)
    raise BadRequest(
        f"{path}: '{route.model}' gives {len(route.labels)} quantities; set 'name' to the one the score is of: "
        f"{', '.join(route.labels[:SHOWN_LABELS])}.",
        param=f"{path}.name",
    )


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


def _predicate_place(name: str | None, instructions: str, route: Route, path: str) -> int:
    """A predicate is named after a label, quotes one in its instructions, or asks a yes/no model for its yes."""
    for words in (name, instructions):
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


def _instructions(value: bodies.Instructions, path: str) -> str:
    return value if isinstance(value, str) else joined(value, f"{path}.instructions")
