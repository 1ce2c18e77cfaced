"""Tokens that texts have at most, before anybody has counted them: what a call reserves.

No token is shorter than a byte. What is read up to a limit and cut has no more than that; pairs of question and context
and texts whose words are all marked are read whole.
"""

from __future__ import annotations

from collections.abc import Iterable

ADDED = 2
"""Tokens that are put around a text."""
PAIR_ADDED = 4
"""Tokens that are put around a pair of texts, at most, and around a text that is read whole."""


def of_texts(texts: Iterable[str], limit: int) -> int:
    """Of texts that are cut at `limit` tokens each."""
    return sum(min(size(text) + ADDED, limit) for text in texts)


def of_ranked(query: str, texts: Iterable[str], limit: int) -> int:
    """Of a query with each of the texts, cut at `limit` tokens a pair."""
    asked = size(query) + PAIR_ADDED
    return sum(min(asked + size(text), limit) for text in texts)


def of_whole(texts: Iterable[str]) -> int:
    """Of texts of which nothing is cut off."""
    return sum(size(text) + PAIR_ADDED for text in texts)


def of_pairs(pairs: Iterable[tuple[str, str]]) -> int:
    """Of questions with their contexts, of which nothing is cut off."""
    return sum(size(question) + size(context) + PAIR_ADDED for question, context in pairs)


def size(text: str) -> int:
    """Bytes."""
    return len(text) if text.isascii() else len(text.encode())
