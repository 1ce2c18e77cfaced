"""From the numbers of every token to what is answered: entities in a text, and answers in a context. Pure.

Places are in characters of the text (Unicode code points), the end exclusive.

Entities: the first token of a word decides for the word, as it is trained (Hugging Face's strategy "first"). Labels may
say where in an entity a word stands: `B-` begins one, `I-` goes on, and with `E-`/`L-` and `S-`/`U-` also the last and
the only word. Without such a prefix, neighbouring words of one label are one entity. `O` is no entity. A word that
goes on with what nothing began is taken to begin it.

Answers: a span's number is that of its start plus that of its end. "No answer" has the two numbers of the first token,
the least of all windows. Chances are shares among the likeliest spans and "no answer".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.sheets import Laid, Sheet
from inference.tensors import Array
from inference.wire import Entity, Span

OUTSIDE = "O"
LONGEST = 30  # tokens of an answer
CANDIDATES = 20  # spans of a window that chances are shared among
_BEGINS, _ENDS, _INSIDE = frozenset("BSU"), frozenset("ELSU"), frozenset("IMEL")
_PREFIXES = _BEGINS | _ENDS | _INSIDE


@dataclass(slots=True)
class _Open:
    """An entity that may go on."""

    kind: str
    start: int
    end: int
    chances: list[float]

    def closed(self) -> Entity:
        return Entity(self.kind, self.start, self.end, float(np.mean(self.chances)))


def prefixed(labels: Sequence[str]) -> bool:
    """Whether every label but `O` says where in an entity its word stands."""
    named = [label for label in labels if label != OUTSIDE]
    return bool(named) and all(len(one) > 2 and one[1] in "-_" and one[0] in _PREFIXES for one in named)


def entities(text: str, laid: Laid, marks: Array, labels: Sequence[str]) -> list[Entity]:
    """`marks` [tokens, 2]: the likeliest label of each token of the text, and its chance."""
    by_place = prefixed(labels)
    found: list[Entity] = []
    current: _Open | None = None
    for start, end, place in _words(text, laid):
        label, chance = labels[int(marks[place, 0])], float(marks[place, 1])
        part, kind = (label[0], label[2:]) if by_place and label != OUTSIDE else ("", label)
        if current is not None and (label == OUTSIDE or kind != current.kind or part in _BEGINS):
            found.append(current.closed())
            current = None
        if label == OUTSIDE:
            continue
        if current is None:
            current = _Open(kind, start, end, [chance])
        else:
            current.end = end
            current.chances.append(chance)
        if part in _ENDS:
            found.append(current.closed())
            current = None
    if current is not None:
        found.append(current.closed())
    return found


def _words(text: str, laid: Laid) -> list[tuple[int, int, int]]:
    """Start, end and first token of each word, without the blanks that some tokenizers count to a word."""
    words: list[tuple[int, int, int]] = []
    last: int | None = None
    for place, ((start, end), word) in enumerate(zip(laid.offsets, laid.words, strict=True)):
        while start < end and text[start].isspace():
            start += 1
        if start >= end:
            continue
        if word is not None and word == last and words:
            words[-1] = (words[-1][0], end, words[-1][2])
        else:
            words.append((start, end, place))
        last = word
    return words


def answers(laid: Laid, sheets: Sequence[Sheet], marks: Sequence[Array], most: int) -> tuple[list[Span], float]:
    """The likeliest spans of a context, and the chance that it holds no answer. `marks` [1 + tokens, 2] for each sheet:
    the numbers of the first token of all, then of each token of the context."""
    best: dict[tuple[int, int], float] = {}
    nothing = np.inf
    for sheet, numbers in zip(sheets, marks, strict=True):
        nothing = min(nothing, float(numbers[0].sum()))
        for first, last, value in _likeliest(numbers[1:]):
            key = (laid.offsets[sheet.first + first][0], laid.offsets[sheet.first + last][1])
            if key[0] < key[1]:
                best[key] = max(value, best.get(key, -np.inf))
    ranked = sorted(best.items(), key=lambda one: (-one[1], one[0]))[:CANDIDATES]
    values = np.array([nothing, *(value for _, value in ranked)])
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    spans = [Span(start, end, float(share)) for ((start, end), _), share in zip(ranked, shares[1:], strict=True)]
    return spans[:most], float(shares[0])


def _likeliest(numbers: Array) -> list[tuple[int, int, float]]:
    """First token, last token and value of the best spans of one window."""
    count = len(numbers)
    if not count:
        return []
    reach = min(LONGEST, count)
    # [tokens, reach]: a span from each token, of each length
    ends = np.full((count, reach), -np.inf, np.float32)
    for more in range(reach):
        ends[: count - more, more] = numbers[more:, 1]
    values = (numbers[:, 0:1] + ends).ravel()
    top = np.argpartition(-values, min(CANDIDATES, values.size) - 1)[:CANDIDATES]
    return [
        (int(place // reach), int(place // reach + place % reach), float(values[place]))
        for place in top
        if np.isfinite(values[place])
    ]
