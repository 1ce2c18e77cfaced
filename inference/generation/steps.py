"""What is asked of a base that writes, and the steps that it is computed in. Pure Python."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Request:
    """One question. At most `allowed` tokens are written over all its choices, `last` says that no more will come."""

    tenant: str
    owner: str  # whose beginnings it may share
    adapter: Hashable | None
    allowed: int
    lanes: int = 0  # of the adapter
    weight: int = 1
    background: bool = False  # `tenant` is then a line of its own
    last: bool = False
    used: int = 0
    cached: int = 0
    cancelled: bool = False
    sequences: list[Sequence] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Tokens that may still be written."""
        return max(0, self.allowed - self.used)


@dataclass(slots=True, eq=False)
class Sequence:
    """One choice of a request: prompt and what was written, and how many of both are in the cache."""

    request: Request
    choice: int
    tokens: list[int]
    prompt: int
    most: int  # tokens it may write
    computed: int = 0
    table: list[int] = field(default_factory=list)
    held: bool = False  # what may follow is not known yet: no step takes it
    finish: str = ""

    @property
    def written(self) -> int:
        """Tokens of its own."""
        return len(self.tokens) - self.prompt

    @property
    def pending(self) -> int:
        """Tokens that are not in the cache yet."""
        return len(self.tokens) - self.computed


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens `begin` to `end` of a sequence; `ends` says whether they are its last, so that a token follows. `table` is
    kept here because a sequence whose caller leaves gives its own back, even while the step is computed."""

    sequence: Sequence
    begin: int
    end: int
    table: list[int]

    @property
    def ends(self) -> bool:
        """Whether the next token can be chosen after it."""
        return self.end == len(self.sequence.tokens)


@dataclass(frozen=True, slots=True)
class Step:
    """What is computed now."""

    writing: bool
    parts: list[Part]

    @property
    def tokens(self) -> int:
        """Tokens in it."""
        return sum(part.end - part.begin for part in self.parts)
