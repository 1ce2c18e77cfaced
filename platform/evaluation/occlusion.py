"""Which words decided: the text is read again without each of them, and the loss in probability is the word's effect.

Occlusion, or leave-one-out (Zeiler and Fergus 2014 for images; Li, Monroe and Jurafsky 2016, "Understanding Neural
Networks through Representation Erasure", for words). It asks the served model itself, so it is the same on every
backend and needs no gradients. It does not promise additive shares: of two words that say the same, either stands in
for the other, and both may show little.

A short text is read without each word. Of a longer one segments of neighbouring words are left out first, and only
those that change the answer are looked into, in at most `ROUNDS` rounds and a fixed number of readings (`Search`).
Every effect is still one reading without exactly that piece. What is not promised: a segment whose words cancel each
other changes nothing as a whole and stays whole. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_READINGS = 24
"""Readings without a piece that one explanation takes at most."""
FEWEST_READINGS = 8
MAX_TOKENS = 3072
"""About what they may take together, so that a long text does not keep its caller waiting: the longer, the fewer,
down to `FEWEST_READINGS`."""
ROUNDS = 3
"""Rounds at most; those of one round are read together."""
PARTS = 4
"""Into how many parts a segment is taken at once."""
MATTERS = 0.01
"""A segment that changes the probability by less is not looked into."""
MAX_CHARACTERS = 20_000
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+(?:['’-][^\W{_IDEOGRAPHS}]+)*")
"""A word of letters and digits, or one sign of a script that puts no space between words."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text, from its first character to the one after its last."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece that was left out, of so many words, and how much less likely the label is without it."""

    span: Span
    words: int
    effect: float


def most_readings(text: str, limit: int) -> int:
    """How often a model that reads `limit` tokens reads a text again for one explanation, at most."""
    tokens = min(len(text) // 4 + 2 if text.isascii() else len(text), limit)
    return max(FEWEST_READINGS, min(MOST_READINGS, MAX_TOKENS // max(1, tokens)))


@dataclass(slots=True)
class _Held:
    """Words from `low` to `high`, the last not among them."""

    low: int
    high: int
    effect: float = 0.0

    @property
    def words(self) -> int:
        return self.high - self.low

    def parts(self, count: int) -> list[_Held]:
        """As equal in words as can be."""
        edges = [self.low + self.words * i // count for i in range(count + 1)]
        return [_Held(low, high) for low, high in pairwise(edges)]


class Search:
    """Which pieces of a text to leave out next: `ask`, read the text without each, `tell`; until nothing is asked.

    All words at once where there are no more than `most`; else half of the readings go to equal segments, and the rest
    to what matters most among them.
    """

    def __init__(self, text: str, most: int) -> None:
        self.text = text
        self.readings = 0
        self._most = most
        self._words = [found.span() for found in _WORD.finditer(text)]
        self._leaves: list[_Held] = []
        self._looked_into: list[_Held] = []
        self._asked: list[_Held] = []
        self._rounds = 0

    def most_texts(self, *, vector: bool) -> int:
        """How many texts are read at most: the whole one, those that lack a piece, and it once more for its vector."""
        return 1 + min(len(self._words), self._most) + vector

    def ask(self) -> list[Span]:
        """The pieces of the next round, in order; none when the search is over."""
        self._asked = self._first() if not self._rounds else self._next()
        self._rounds += 1
        self.readings += len(self._asked)
        return [self._span(one) for one in self._asked]

    def tell(self, effects: Sequence[float]) -> None:
        """What each piece that was asked for added to the probability."""
        for one, effect in zip(self._asked, effects, strict=True):
            one.effect = effect
        split = {id(one) for one in self._looked_into}
        self._leaves = sorted(
            [*(one for one in self._leaves if id(one) not in split), *self._asked], key=lambda one: one.low
        )

    @property
    def pieces(self) -> list[Piece]:
        """The smallest pieces that were left out, in the order of the text; every word is in one of them."""
        return [Piece(self._span(one), one.words, one.effect) for one in self._leaves]

    @property
    def segments(self) -> list[Piece]:
        """The segments that were looked into, with what they changed as a whole; in the order of the text."""
        ordered = sorted(self._looked_into, key=lambda one: (one.low, -one.high))
        return [Piece(self._span(one), one.words, one.effect) for one in ordered]

    def _first(self) -> list[_Held]:
        count = len(self._words)
        if not count:
            return []
        return _Held(0, count).parts(count if count <= self._most else -(-self._most // 2))

    def _next(self) -> list[_Held]:
        left = self._most - self.readings
        budget = left if self._rounds + 1 >= ROUNDS else min(left, max(PARTS, -(-left // 2)))
        if self._rounds >= ROUNDS:
            return []
        found: list[_Held] = []
        for one in sorted(self._leaves, key=lambda one: -abs(one.effect)):
            count = min(PARTS, one.words, budget)
            if abs(one.effect) < MATTERS or budget < 2:
                break
            if one.words > 1:
                found += one.parts(count)
                self._looked_into.append(one)
                budget -= count
        return sorted(found, key=lambda one: one.low)

    def _span(self, one: _Held) -> Span:
        return Span(self._words[one.low][0], self._words[one.high - 1][1])


def without(text: str, span: Span) -> str:
    """The text without a piece, and without the space that would stand double then."""
    before, after = text[: span.start], text[span.end :]
    if after[:1].isspace() and (not before or before[-1].isspace()):
        after = after[1:]
    return before + after


def effects(whole: float, left: Sequence[float]) -> list[float]:
    """What each piece added to a probability: that of the whole text, less what is left without the piece."""
    return [whole - one for one in left]
