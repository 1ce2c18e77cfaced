"""How fast each base is computed at its best, by the latest batches that were full. Pure Python.

A short text alone is computed at a fraction of the speed of a full batch, and a machine that is shared is slow at
times. So what one can say of a large request is what it takes at least.
"""

from __future__ import annotations

from collections import deque

WORTH = 256  # tokens; a smaller batch says little of how long a large request takes
LATEST = 16  # measurements; with fewer nothing is said, for the first ones are slow
FRESH_S = 60.0  # older ones may be of a busier hour


class Pace:
    """Cost per second of one lane, by base."""

    def __init__(self) -> None:
        self._latest: dict[str, deque[tuple[float, float]]] = {}  # moment and speed, the latest last

    def note(self, base: str, cost: int, seconds: float, now: float) -> None:
        """A batch of this base that left something for the next one was computed."""
        if cost >= WORTH:
            latest = self._latest.setdefault(base, deque(maxlen=LATEST))
            latest.append((now, cost / max(seconds, 1e-6)))

    def of(self, base: str, now: float) -> float:
        """0 while too little was measured lately."""
        latest = self._latest.get(base)
        if latest is None or len(latest) < LATEST or now - latest[0][0] > FRESH_S:
            return 0.0
        return max(speed for _, speed in latest)
