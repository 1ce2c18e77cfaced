"""What extends, settles and looks of the quota server answer; `decision` has the answer to a reserve."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """What a settle did. `known` is False when there was nothing to settle: done before, or the state was lost."""

    known: bool
    now_ms: int
    tokens: int = 0
    nano: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Extended:
    """What an extend did. `known` is False when the reservation is gone; `place` is that of the limit that blocked, in
    the limits it was made with."""

    allowed: bool
    known: bool
    now_ms: int
    place: int | None = None
    wait_ms: int = 0
    output_tokens: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """A reservation past its deadline."""

    reservation_id: str
    tokens: int
    nano: int
    reserved_at_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseState:
    """What the server holds of a lease. `alive` is False for one of an earlier server life or a past period."""

    epoch: int
    alive: bool
    granted: int
    available: int
    used: int
    held: int
    ends_ms: int
    block: int


def parse_extend(answer: list[int]) -> Extended:
    """From the answer of `extend.lua`."""
    if answer[0] == 0:
        return Extended(False, True, answer[1], answer[2] - 1, answer[3])
    if answer[0] == 1:
        return Extended(True, True, answer[1], output_tokens=answer[2])
    return Extended(False, False, answer[1])


def parse_settle(answer: list[int]) -> Settled:
    """From the answer of `settle.lua`."""
    return Settled(True, answer[1], answer[2], answer[3]) if answer[0] == 1 else Settled(False, answer[1])
