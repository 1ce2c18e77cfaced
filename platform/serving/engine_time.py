"""How long a deployment's own engines were ready: pure, from looks at what they say of themselves.

A look is a moment and who is ready then, and since when. Between two looks everybody who is ready at the second counts
since the first, or since it became ready, whichever is later; who is not ready at the second does not count. So what is
counted depends on nothing that a killed process knew: a look that is missing is made up for by the next one, one that
comes twice or late counts nothing, and time that nobody can vouch for is not counted.

All is whole seconds since 1970. Time that is counted is handed out in pieces, each once, none across an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

MINUTE, HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Meter:
    """All before `looked` is counted, all before `handed` handed out; `open` are engine-seconds between the two."""

    looked: int
    handed: int
    open: int = 0

    def __post_init__(self) -> None:
        if not (self.handed <= self.looked and self.open >= 0):
            raise ValueError("A meter hands out what it has counted, and no time runs backwards.")


@dataclass(frozen=True, slots=True)
class Piece:
    """Engine-seconds within [start, end)."""

    start: int
    end: int
    seconds: int


def look(meter: Meter, at: int, ready: Mapping[str, int]) -> tuple[Meter, list[Piece]]:
    """Count up to `at`; `ready` says since when each engine is. Hands out whole minutes, as one piece for each hour
    they are in. A look that is not later than the last one changes nothing."""
    if at <= meter.looked:
        return meter, []
    spans = [max(meter.looked, min(since, at)) for since in ready.values()]
    until = at // MINUTE * MINUTE
    if until <= meter.handed:
        return replace(meter, looked=at, open=meter.open + sum(at - start for start in spans)), []
    pieces, start, open_now = [], meter.handed, meter.open
    while start < until:
        end = min(start // HOUR * HOUR + HOUR, until)
        seconds = open_now + sum(max(0, end - max(begun, start)) for begun in spans)
        pieces.append(Piece(start, end, seconds))
        start, open_now = end, 0
    rest = sum(max(0, at - max(begun, until)) for begun in spans)
    return Meter(at, until, rest), [piece for piece in pieces if piece.seconds]


def close(meter: Meter) -> tuple[Meter, list[Piece]]:
    """Hand out what is left: its engines are gone for good."""
    left = [Piece(meter.handed, meter.looked, meter.open)] if meter.open else []
    return Meter(meter.looked, meter.looked), left
