"""Models of the other tasks that read: entities marked in the text, answers, chances, quantities, a score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from console.code import Sample
from console.playing.answers import Outcome, Values
from console.playing.subjects import Subject
from console.task_call import task_call
from inference.tasks import ANSWERS, MULTI_LABEL, REGRESSION, RERANK, TOKENS
from inference.wire import Entity
from serving import trying

THRESHOLD = 0.5
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text; one that is an entity has a label."""

    text: str
    label: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What one model says, ready for the template: `kind` is its task, and some of the others are filled."""

    outcome: Outcome
    kind: str
    pieces: Sequence[Piece] = ()
    rows: Sequence[tuple[str, float, bool]] = ()
    nothing: float = 0.0
    entities: Sequence[tuple[str, str, float]] = ()


def ask(subject: Subject, values: Values) -> trying.Reading:
    """The model's answer to the form's one or two texts."""
    assert subject.deployment is not None  # noqa: S101 - no base has these tasks
    text, other = values["text"], values.get("other") or ""
    return trying.reading_try(deployment=subject.deployment, text=text, other=other, user_id=subject.user_id)


def threshold(subject: Subject) -> float | None:
    """From which chance on a label holds, as the API has it."""
    return THRESHOLD


def context(outcomes: list[Outcome], values: Values) -> dict[str, Any]:
    """Each model's answer."""
    return {"shown": [_shown(one, values) for one in outcomes if one.answer is not None]}


def samples(server: str, subject: Subject, values: Values) -> list[Sample]:
    """POST /v1/predict, as it was called."""
    text, other = values.get("text"), values.get("other")
    value: Any = text or None
    if subject.task == ANSWERS:
        value = {"question": text, "context": other} if text and other else None
    elif subject.task == RERANK:
        value = {"query": text, "document": other} if text and other else None
    bound = values.get("threshold")
    more = {"threshold": bound} if subject.task == MULTI_LABEL and bound not in (None, THRESHOLD) else {}
    return task_call(server, model=subject.called, task=subject.task, value=value, more=more)


def _shown(outcome: Outcome, values: Values) -> Shown:
    task, found = outcome.subject.task, outcome.answer.found
    if task == TOKENS:
        text = values["text"]
        rows = [(text[one.start : one.end], one.label, one.score) for one in found]
        return Shown(outcome, task, pieces=pieces(text, found), entities=rows)
    if task == ANSWERS:
        spans, nothing = found
        rows = [(values["other"][one.start : one.end], one.score, False) for one in spans]
        return Shown(outcome, task, rows=rows, nothing=nothing)
    if task == REGRESSION:
        return Shown(outcome, task, rows=[(name, number, False) for name, number in found])
    bound = values.get("threshold")
    over = THRESHOLD if bound is None else bound
    ranked = sorted(found, key=lambda pair: -pair[1])[:SHOWN]
    return Shown(outcome, task, rows=[(name, p, task == MULTI_LABEL and p >= over) for name, p in ranked])


def pieces(text: str, entities: list[Entity]) -> list[Piece]:
    """The whole text, cut at its entities."""
    cut, at = [], 0
    for one in entities:
        cut += [Piece(text[at : one.start]), Piece(text[one.start : one.end], one.label, one.score)]
        at = one.end
    return [piece for piece in [*cut, Piece(text[at:])] if piece.text]
