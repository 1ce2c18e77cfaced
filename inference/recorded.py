"""`parity.json`: what a model answered at training time, for the serving path to be compared with. One shape per task.

Labels, chances, quantities and vectors are rows of numbers, one for each text or pair. A model that judges each token
has a row for each token of a text, the special ones left out; one that answers questions has two numbers for each
token of the context, and before them those of the first token of all, which stand for "no answer".
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
import numpy as np

from inference.errors import BadArtefact
from inference.tasks import ANSWERS, RERANK, TOKENS
from inference.tensors import Array

T = TypeVar("T")

MAX_ROWS = 256
Some = msgspec.Meta(min_length=1, max_length=MAX_ROWS)
Pair = tuple[str, str]


class Recorded(msgspec.Struct, frozen=True):
    """Of a model that gives one row for a text. `probabilities` are what it answers, whatever the task: probabilities,
    quantities, or unit vectors."""

    texts: Annotated[list[str], Some]
    probabilities: list[list[float]]


class RecordedPairs(msgspec.Struct, frozen=True):
    """Of a model that gives one row for a pair of texts."""

    pairs: Annotated[list[Pair], Some]
    probabilities: list[list[float]]


class RecordedTokens(msgspec.Struct, frozen=True):
    """Of a model that judges each token: probabilities [tokens, labels] of every text, none longer than it reads."""

    texts: Annotated[list[str], Some]
    tokens: list[list[list[float]]]


class RecordedAnswers(msgspec.Struct, frozen=True):
    """Of a model that answers questions: pairs of question and context, none longer than it reads, and the numbers for
    where an answer starts and ends [1 + tokens, 2]."""

    pairs: Annotated[list[Pair], Some]
    logits: list[list[list[float]]]


AnyRecorded = Recorded | RecordedPairs | RecordedTokens | RecordedAnswers

KINDS: dict[str, type[AnyRecorded]] = {
    RERANK: RecordedPairs,
    TOKENS: RecordedTokens,
    ANSWERS: RecordedAnswers,
}
"""By task; all others are `Recorded`."""


def read_recorded(data: bytes, task: str, width: int, name: str) -> AnyRecorded:
    """The file's content, with as many rows as texts and `width` finite numbers in each. Raises `BadArtefact`."""
    try:
        found = msgspec.json.decode(data, type=KINDS.get(task, Recorded))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadArtefact(f"{name} is not as the format asks: {error}") from error
    if isinstance(found, RecordedTokens):
        _check(found.tokens, len(found.texts), width, name)
    elif isinstance(found, RecordedAnswers):
        _check(found.logits, len(found.pairs), width, name)
    else:
        asked = found.pairs if isinstance(found, RecordedPairs) else found.texts
        _check([found.probabilities], 1, width, name)
        if len(found.probabilities) != len(asked):
            raise BadArtefact(f"{name} must hold one row of {width} probabilities for each text.")
    return found


def _check(matrices: list[list[list[float]]], count: int, width: int, name: str) -> None:
    if len(matrices) != count or any({len(row) for row in matrix} != {width} for matrix in matrices):
        raise BadArtefact(f"{name} must hold one row of {width} probabilities for each text.")
    if not all(np.isfinite(_array(matrix)).all() for matrix in matrices):
        raise BadArtefact(f"{name} holds probabilities that are not finite numbers.")


def _array(matrix: list[list[float]]) -> Array:
    return np.array(matrix, np.float32)
