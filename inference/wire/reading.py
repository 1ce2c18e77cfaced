"""Messages about texts that models read: labels, quantities, vectors, tokens.

Numbers travel as raw little-endian float32, row after row, because a list of floats would cost more than the model."""

from __future__ import annotations

from inference.wire.base import Message


class Classify(Message, tag="classify", frozen=True, gc=False):
    """Probabilities of every label of `model` for each text. `weight` is the tenant's share when many compete."""

    id: int
    tenant: str
    model: str
    texts: list[str]
    weight: int = 1


class Classified(Message, tag="classified", frozen=True, gc=False):
    """`probabilities` is float32 [texts, width]: shares that add up to one, chances of each label by itself, or the
    quantities of a regression, by the model's task. A text was truncated where `lengths[i] > limit`."""

    id: int
    width: int
    probabilities: bytes
    lengths: list[int]
    limit: int
    compute_us: int


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


class Embedded(Message, tag="embedded", frozen=True, gc=False):
    """`vectors` is float32 [texts, width], each row of length one."""

    id: int
    width: int
    vectors: bytes
    lengths: list[int]
    limit: int
    compute_us: int


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
