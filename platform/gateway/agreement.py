"""What is asked of a shadow, and what two versions' answers to it have in common: a way for each task.

Each class is one question to an engine. `ask` puts it, `read` takes one version's answer apart, and `compare` adds to a
tally what two parts of both came to. An answer that makes no sense is its own version's doing, so each is read by
itself. Of models that write, `gateway.writing.agreement` has the question.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from operator import mul
from typing import TYPE_CHECKING, Any, Protocol

from inference import wire
from inference.client import EngineClient
from inference.tasks import MULTI_LABEL, REGRESSION
from serving.requests import RequestNote
from serving.shadows import ShadowTally

if TYPE_CHECKING:
    from serving.routes import Route

MOST_ITEMS = 32
"""Texts, questions or documents of a call that are compared; of more, the first."""
THRESHOLD = 0.5
"""From which chance on a label holds, where the call does not say."""


class Comparable(Protocol):
    """Something that both versions can be asked."""

    @property
    def items(self) -> int:
        """How many texts, questions or documents."""

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[Any]:
        """Put it to an engine: `tenant`, `model` and `weight` are the caller's."""

    def read(self, route: Route, said: Any) -> Iterator[Any]:
        """What a version said, item by item, as `compare` takes it: as many for every version. Whoever iterates lets
        calls go first in between. Raises for what cannot be read, such as what is no number."""

    def compare(self, tally: ShadowTally, mine: Any, theirs: Any) -> None:
        """Add what both versions' answers to one item have in common."""

    def note(self, note: RequestNote, said: Any) -> None:
        """Write down what an answer took."""


class Unaskable(Exception):
    """What cannot be put to a candidate at all, such as a prompt that does not fit it."""


class Reads:
    """What is alike in all questions to models that read."""

    __slots__ = ()

    def note(self, note: RequestNote, said: wire.Computed) -> None:
        """Write down what an answer took."""
        note.input_tokens = sum(min(length, said.limit) for length in said.lengths)
        note.engine_ms = -(-said.compute_us // 1000)


@dataclass(frozen=True, slots=True)
class Texts(Reads):
    """Labels or quantities of texts."""

    texts: list[str]
    threshold: float = THRESHOLD

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Classified]:
        return engine.classify(texts=self.texts, **who)

    def read(self, route: Route, said: wire.Classified) -> Iterator[dict[str, float] | set[str] | str]:
        for row in _rows(said.probabilities, said.width, self.items):
            named = dict(zip(route.labels, row, strict=True))
            if route.task == REGRESSION:
                yield named
            elif route.task == MULTI_LABEL:
                yield {label for label, chance in named.items() if chance >= self.threshold}
            else:
                yield max(named, key=named.__getitem__)

    def compare(self, tally: ShadowTally, mine: Any, theirs: Any) -> None:
        if isinstance(mine, dict):
            tally.measure(sum(abs(value - theirs[name]) for name, value in mine.items()) / len(mine))
        elif isinstance(mine, set):
            tally.share(mine, theirs)
        else:
            tally.add(mine == theirs)


@dataclass(frozen=True, slots=True)
class Tagging(Reads):
    """Entities of texts."""

    texts: list[str]

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Tagged]:
        return engine.tag(texts=self.texts, **who)

    def read(self, route: Route, said: wire.Tagged) -> Iterator[set[tuple[str, int, int]]]:
        for place in range(self.items):
            yield {(one.label, one.start, one.end) for one in said.entities[place]}

    def compare(self, tally: ShadowTally, mine: set[Any], theirs: set[Any]) -> None:
        tally.share(mine, theirs)


@dataclass(frozen=True, slots=True)
class Questions(Reads):
    """Answers to questions from contexts."""

    pairs: list[tuple[str, str]]

    @property
    def items(self) -> int:
        return len(self.pairs)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Asked]:
        return engine.ask(pairs=self.pairs, answers=1, **who)

    def read(self, route: Route, said: wire.Asked) -> Iterator[str | None]:
        for place in range(self.items):
            yield self._answer(said, place)

    def compare(self, tally: ShadowTally, mine: str | None, theirs: str | None) -> None:
        tally.add(mine == theirs)

    def _answer(self, said: wire.Asked, place: int) -> str | None:
        """The likeliest answer's text; None where it is likelier that there is none."""
        spans, context = said.spans[place], self.pairs[place][1]
        if not spans or said.nothing[place] > spans[0].score:
            return None
        return context[spans[0].start : spans[0].end]


@dataclass(frozen=True, slots=True)
class Documents(Reads):
    """The order of documents for a query: of two or more."""

    query: str
    texts: list[str]

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Classified]:
        return engine.rank(query=self.query, texts=self.texts, **who)

    def read(self, route: Route, said: wire.Classified) -> Iterator[list[float]]:
        yield [row[0] for row in _rows(said.probabilities, said.width, self.items)]

    def compare(self, tally: ShadowTally, mine: list[float], theirs: list[float]) -> None:
        tally.add(_best(mine) == _best(theirs))
        for one, other in combinations(range(self.items), 2):
            here, there = mine[one] - mine[other], theirs[one] - theirs[other]
            if here and there:  # what one version holds to be alike, the other cannot have turned round
                tally.parts += 1
                tally.parts_agreed += (here > 0) == (there > 0)


@dataclass(frozen=True, slots=True)
class Vectors(Reads):
    """Vectors of texts."""

    texts: list[str]
    dimensions: int

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Embedded]:
        return engine.embed(texts=self.texts, dimensions=self.dimensions, **who)

    def read(self, route: Route, said: wire.Embedded) -> Iterator[array[float]]:
        yield from _rows(said.vectors, said.width, self.items)

    def compare(self, tally: ShadowTally, mine: array[float], theirs: array[float]) -> None:
        if len(mine) != len(theirs):
            raise ValueError(f"vectors of {len(mine)} and of {len(theirs)} numbers cannot be compared")
        tally.measure(sum(map(mul, mine, theirs)))  # both are of length one


def _rows(packed: bytes, width: int, count: int) -> Iterator[array[float]]:
    """The first rows of packed float32. ValueError for what is no number, or not there."""
    for start in range(0, count * width * 4, width * 4):
        row = array("f", packed[start : start + width * 4])
        if len(row) != width or not isfinite(sum(row)):
            raise ValueError("an engine answered with something that is no number")
        yield row


def _best(row: Any) -> int:
    return max(range(len(row)), key=row.__getitem__)
