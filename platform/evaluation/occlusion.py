"""Which words decided: the text is read again without each of them, and the loss in probability is the word's effect.

Occlusion, or leave-one-out (Zeiler and Fergus 2014 for images; Li, Monroe and Jurafsky 2016, "Understanding Neural
Networks through Representation Erasure", for words). It asks the served model itself, so it is the same on every
backend and needs no gradients. It does not promise additive shares: of two words that say the same, either stands in
for the other, and both may show little. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_WORDS = 64
"""Pieces of a text at most that are left out one by one; of a text with more words, neighbours go together."""
FEWEST_WORDS = 8
MAX_TOKENS = 8192
"""About what all readings of an explanation may take together, so that a long text does not keep its caller waiting."""
MAX_CHARACTERS = 20_000
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+(?:['’-][^\W{_IDEOGRAPHS}]+)*")
"""A word of letters and digits, or one sign of a script that puts no space between words."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text, from its first character to the one after its last."""

    start: int
    end: int


def most_pieces(text: str, limit: int) -> int:
    """Into how many pieces a text is taken apart by a model that reads `limit` tokens: the longer, the fewer."""
    tokens = min(len(text) // 4 + 2 if text.isascii() else len(text), limit)
    return max(FEWEST_WORDS, min(MAX_WORDS, MAX_TOKENS // max(1, tokens)))


def spans_of(text: str, most: int = MAX_WORDS) -> list[Span]:
    """The words of a text, in order, at most `most` pieces that are as equal in words as can be."""
    words = [found.span() for found in _WORD.finditer(text)]
    pieces = min(len(words), most)
    edges = [len(words) * i // pieces for i in range(pieces + 1)] if pieces else [0]
    return [Span(words[low][0], words[high - 1][1]) for low, high in pairwise(edges)]


def without(text: str, span: Span) -> str:
    """The text without a piece, and without the space that would stand double then."""
    before, after = text[: span.start], text[span.end :]
    if after[:1].isspace() and (not before or before[-1].isspace()):
        after = after[1:]
    return before + after


def effects(whole: float, left: Sequence[float]) -> list[float]:
    """What each piece added to a probability: that of the whole text, less what is left without the piece."""
    return [whole - one for one in left]
