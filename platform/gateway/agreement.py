"""What is asked of a shadow, and what two versions' answers to it have in common: a way for each task.

Each class is one question to an engine. `ask` puts it, `compare` adds to a tally what both answers came to.
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
from serving.shadows import ShadowTally

if TYPE_CHECKING:
    from serving.routes import Route

MOST_ITEMS = 32
"""Texts, questions or documents of a call that are compared; of more, the first."""
THRESHOLD = 0.5
"""From which chance on a label holds, where the call does not say."""


class Asked(Protocol):
    """Something that both versions can be asked."""

    @property
    def items(self) -> int:
        """How many texts, questions or documents."""

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[Any]:
        """Put it to an engine: `tenant`, `model` and `weight` are the caller's."""

    def compare(self, tally: ShadowTally, routes: tuple[Route, Route], said: tuple[Any, Any]) -> Iterator[None]:
        """Add what the stable version's answer and the candidate's have in common, item by item: whoever iterates lets
        calls go first in between."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Labels or quantities of texts."""

    texts: list[str]
    threshold: float = THRESHOLD

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Classified]:
        return engine.classify(texts=self.texts, **who)

    def compare(
        self, tally: ShadowTally, routes: tuple[Route, Route], said: tuple[wire.Classified, wire.Classified]
    ) -> Iterator[None]:
        here, there = (_rows(one.probabilities, one.width, self.items) for one in said)
        labels, others = (route.labels for route in routes)
        for mine, theirs in zip(here, there, strict=True):
            if routes[0].task == REGRESSION:
                gaps = [abs(mine[labels.index(name)] - theirs[others.index(name)]) for name in labels]
                tally.measure(sum(gaps) / len(gaps))
            elif routes[0].task == MULTI_LABEL:
                tally.share(self._held(mine, labels), self._held(theirs, others))
            else:
                tally.add(labels[_best(mine)] == others[_best(theirs)])
            yield

    def _held(self, row: array[float], labels: tuple[str, ...]) -> set[str]:
        return {label for label, chance in zip(labels, row, strict=True) if chance >= self.threshold}


@dataclass(frozen=True, slots=True)
class Tagging:
    """Entities of texts."""

    texts: list[str]

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Tagged]:
        return engine.tag(texts=self.texts, **who)

    def compare(
        self, tally: ShadowTally, routes: tuple[Route, Route], said: tuple[wire.Tagged, wire.Tagged]
    ) -> Iterator[None]:
        for mine, theirs in zip(said[0].entities[: self.items], said[1].entities, strict=True):
            here, there = ({(one.label, one.start, one.end) for one in found} for found in (mine, theirs))
            tally.share(here, there)
            yield


@dataclass(frozen=True, slots=True)
class Questions:
    """Answers to questions from contexts."""

    pairs: list[tuple[str, str]]

    @property
    def items(self) -> int:
        return len(self.pairs)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Asked]:
        return engine.ask(pairs=self.pairs, answers=1, **who)

    def compare(
        self, tally: ShadowTally, routes: tuple[Route, Route], said: tuple[wire.Asked, wire.Asked]
    ) -> Iterator[None]:
        for place in range(self.items):
            mine, theirs = (self._answer(one, place) for one in said)
            tally.add(mine == theirs)
            yield

    def _answer(self, said: wire.Asked, place: int) -> str | None:
        """The likeliest answer's text; None where it is likelier that there is none."""
        spans, context = said.spans[place], self.pairs[place][1]
        if not spans or said.nothing[place] > spans[0].score:
            return None
        return context[spans[0].start : spans[0].end]


@dataclass(frozen=True, slots=True)
class Documents:
    """The order of documents for a query."""

    query: str
    texts: list[str]

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Classified]:
        return engine.rank(query=self.query, texts=self.texts, **who)

    def compare(
        self, tally: ShadowTally, routes: tuple[Route, Route], said: tuple[wire.Classified, wire.Classified]
    ) -> Iterator[None]:
        if self.items < 2:
            return  # one document has no order
        mine, theirs = ([row[0] for row in _rows(one.probabilities, one.width, self.items)] for one in said)
        tally.add(_best(mine) == _best(theirs))
        for one, other in combinations(range(self.items), 2):
            here, there = mine[one] - mine[other], theirs[one] - theirs[other]
            if here and there:  # what one version holds to be alike, the other cannot have turned round
                tally.parts += 1
                tally.parts_agreed += (here > 0) == (there > 0)
        yield


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of texts."""

    texts: list[str]
    dimensions: int

    @property
    def items(self) -> int:
        return len(self.texts)

    def ask(self, engine: EngineClient, **who: Any) -> Awaitable[wire.Embedded]:
        return engine.embed(texts=self.texts, dimensions=self.dimensions, **who)

    def compare(
        self, tally: ShadowTally, routes: tuple[Route, Route], said: tuple[wire.Embedded, wire.Embedded]
    ) -> Iterator[None]:
        if said[0].width != said[1].width:
            raise ValueError(f"vectors of {said[0].width} and of {said[1].width} numbers cannot be compared")
        here, there = (_rows(one.vectors, one.width, self.items) for one in said)
        for mine, theirs in zip(here, there, strict=True):
            tally.measure(sum(map(mul, mine, theirs)))  # both are of length one
            yield


def _rows(packed: bytes, width: int, count: int) -> Iterator[array[float]]:
    """The first rows of packed float32. ValueError for what is no number: it says nothing that could be compared."""
    for start in range(0, count * width * 4, width * 4):
        row = array("f", packed[start : start + width * 4])
        if not isfinite(sum(row)):
            raise ValueError("an engine answered with something that is no number")
        yield row


def _best(row: Any) -> int:
    return max(range(len(row)), key=row.__getitem__)
