"""Messages about texts that models read: labels, quantities, vectors, tokens.

Numbers travel as raw little-endian float32, row after row, because a list of floats would cost more than the model."""

from __future__ import annotations

from typing import Protocol

import msgspec

from inference.wire.base import Message

UNCUT = 2**31 - 1
"""The limit of an answer to texts that are read whole, however long they are."""


class Computed(Protocol):
    """What an engine computed of texts that it read, whatever that is. `lengths` are in tokens, and count up to `limit`
    each."""

    @property
    def lengths(self) -> list[int]: ...

    @property
    def limit(self) -> int: ...

    @property
    def compute_us(self) -> int: ...

    @property
    def queue_us(self) -> int: ...

    @property
    def batch_rows(self) -> int: ...


class Classify(Message, tag="classify", frozen=True, gc=False):
    """Probabilities of every label of `model` for each text. `weight` is the tenant's share when many compete.

    `trace` is the W3C traceparent of the span that asks, here and below; empty where nobody traces.
    """

    id: int
    tenant: str
    model: str
    texts: list[str]
    weight: int = 1
    trace: str = ""


class Classified(Message, tag="classified", frozen=True, gc=False):
    """`probabilities` is float32 [texts, width]: shares that add up to one, chances of each label by itself, or the
    quantities of a regression, by the model's task. A text was truncated where `lengths[i] > limit`.

    `queue_us`: how long the first row waited. `batch_rows`: rows, whoever's, of the largest batch it had a part in.
    """

    id: int
    width: int
    probabilities: bytes
    lengths: list[int]
    limit: int
    compute_us: int
    queue_us: int = 0
    batch_rows: int = 0


class Embed(Message, tag="embed", frozen=True, gc=False):
    """Unit vectors for each text, from a base (`base` set) or from a tenant's own model (`model` set).

    `dimensions`: the first so many numbers of each, brought to length one; 0 for all.
    """

    id: int
    tenant: str
    texts: list[str]
    model: str = ""
    base: str = ""
    weight: int = 1
    dimensions: int = 0
    trace: str = ""


class Embedded(Message, tag="embedded", frozen=True, gc=False):
    """`vectors` is float32 [texts, width], each row of length one. The last two as in `Classified`."""

    id: int
    width: int
    vectors: bytes
    lengths: list[int]
    limit: int
    compute_us: int
    queue_us: int = 0
    batch_rows: int = 0


class Count(Message, tag="count", frozen=True, gc=False):
    """Token counts as the base's tokenizer sees them, special tokens included."""

    id: int
    base: str
    texts: list[str]


class Counted(Message, tag="counted", frozen=True, gc=False):
    """Token count of each text, and the longest the base reads."""

    id: int
    lengths: list[int]
    limit: int


class Rank(Message, tag="rank", frozen=True, gc=False):
    """How well each text answers `query`, by a cross-encoder. Answered by `Classified`, one number for each text."""

    id: int
    tenant: str
    model: str
    query: str
    texts: list[str]
    weight: int = 1
    trace: str = ""


class Tag(Message, tag="tag", frozen=True, gc=False):
    """The entities that `model` finds in each text, however long it is."""

    id: int
    tenant: str
    model: str
    texts: list[str]
    weight: int = 1
    trace: str = ""


class Ask(Message, tag="ask", frozen=True, gc=False):
    """Where each question is answered in its context, however long that is: at most `answers` places of each."""

    id: int
    tenant: str
    model: str
    pairs: list[tuple[str, str]]
    answers: int = 1
    weight: int = 1
    trace: str = ""


class Entity(msgspec.Struct, frozen=True, gc=False):
    """Something a text names, in characters from `start` to before `end`. `score`: how likely its words' labels are."""

    label: str
    start: int
    end: int
    score: float


class Span(msgspec.Struct, frozen=True, gc=False):
    """An answer's place in its context, in characters from `start` to before `end`."""

    start: int
    end: int
    score: float


class Tagged(Message, tag="tagged", frozen=True, gc=False):
    """The entities of each text, in order. Nothing is cut off: `lengths` count every token once, `limit` none."""

    id: int
    entities: list[list[Entity]]
    lengths: list[int]
    compute_us: int
    queue_us: int = 0
    batch_rows: int = 0
    limit: int = UNCUT


class Asked(Message, tag="asked", frozen=True, gc=False):
    """The answers of each question, likeliest first, and how likely there is none. `lengths` count question and context
    once, `limit` none."""

    id: int
    spans: list[list[Span]]
    nothing: list[float]
    lengths: list[int]
    compute_us: int
    queue_us: int = 0
    batch_rows: int = 0
    limit: int = UNCUT


class Nearest(Message, tag="nearest", frozen=True, gc=False):
    """The `k` rows of `model`'s training data whose vectors are nearest to `vector`, a float32 row of `Embedded`.

    The artefact lies in `folder` or behind `urls`, as for `Load`; the model itself need not be in memory.
    """

    id: int
    tenant: str
    folder: str
    sha256: str
    vector: bytes
    k: int
    urls: dict[str, str] = {}


class Neighbours(Message, tag="neighbours", frozen=True, gc=False):
    """The nearest first: row numbers of the dataset version, places of their labels, cosines."""

    id: int
    rows: list[int]
    labels: list[int]
    similarities: list[float]
