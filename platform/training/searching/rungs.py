"""Successive halving (Jamieson and Talwalkar, 2016): many settings get few passes, the best third of them three times
as many, and so on. The last rung gets all the passes.

A rung trains anew from the base. A run's learning rate falls to zero over its own passes, so a short run that was
carried on would not be the long run that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

ETA = 3
"""What is kept of a rung, one in so many, and by how much the passes grow."""


@dataclass(frozen=True, slots=True)
class Rung:
    """So many trials at most, each of so many passes; None leaves the passes to the setting."""

    size: int
    epochs: int | None = None


def rungs_of(trials: int, *, most_epochs: int | None) -> list[Rung]:
    """The rungs for so many settings: one without `most_epochs`, else as many as settings and passes can be divided."""
    if most_epochs is None:
        return [Rung(trials)]
    sizes, epochs = [trials], [most_epochs]
    while sizes[-1] >= ETA and epochs[0] >= ETA:
        sizes.append(sizes[-1] // ETA)
        epochs.insert(0, epochs[0] // ETA)
    return [Rung(size, passes) for size, passes in zip(sizes, epochs, strict=True)]
