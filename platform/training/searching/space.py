"""A search space, as JSON has it, and the settings that a strategy draws from it.

An axis is a list of values, or a range {"min", "max", "scale"} between two numbers, both included. Drawing depends on
the seed alone: the same space and seed give the same settings on every machine, since only `Random.random` is used,
whose sequence Python promises to keep.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from training.methods import DEFAULT_METHOD, LORA, RANK

GRID, RANDOM, HALVING = "grid", "random", "halving"
STRATEGIES = (GRID, RANDOM, HALVING)
METHOD, EPOCHS, BATCH, RATE = "x_method", "n_epochs", "batch_size", "learning_rate_multiplier"
AXES = (METHOD, RANK, EPOCHS, BATCH, RATE)
"""What a sweep may vary, in the order in which a grid is walked: the last one changes fastest."""
WHOLE = (RANK, EPOCHS, BATCH)
LINEAR, LOG = "linear", "log"
SCALES = (LINEAR, LOG)
DRAWS = 50
"""Draws for each setting wanted before a space counts as used up."""

Axis = Sequence[Any] | Mapping[str, Any]
Space = Mapping[str, Axis]
Setting = dict[str, Any]


def ranges(space: Space) -> list[str]:
    """The axes that are ranges."""
    return [name for name in AXES if isinstance(space.get(name), Mapping)]


def grid_size(space: Space) -> int:
    """The number of combinations of a space of lists: a method without a rank counts once for all ranks."""
    ranks = len(space.get(RANK, (None,)))
    kinds = sum(ranks if method == LORA else 1 for method in methods_of(space))
    return kinds * math.prod(len(space[name]) for name in AXES if name in space and name not in (METHOD, RANK))


def methods_of(space: Space) -> Sequence[str]:
    """The methods that are tried."""
    found: Any = space.get(METHOD, (DEFAULT_METHOD,))
    return list(found)


def has_rank(setting: Mapping[str, Any]) -> bool:
    """Whether the setting's method has a rank."""
    return bool(setting.get(METHOD, DEFAULT_METHOD) == LORA)


def settings_of(strategy: str, space: Space, *, trials: int, seed: int) -> list[Setting]:
    """The settings to try, in order, no two alike: all of a grid, or up to `trials` drawn ones. Fewer than asked for
    where the space does not hold as many."""
    if strategy == GRID:
        return grid(space)
    if not ranges(space) and grid_size(space) <= trials:
        return _shuffled(grid(space), random.Random(seed))
    return drawn(space, trials=trials, seed=seed)


def grid(space: Space) -> list[Setting]:
    """Every combination of a space of lists, the last axis changing fastest."""
    names = [name for name in AXES if name in space]
    combined = itertools.product(*(space[name] for name in names))
    return _different([_meant(dict(zip(names, values, strict=True))) for values in combined])


def drawn(space: Space, *, trials: int, seed: int) -> list[Setting]:
    """Up to `trials` different settings, each axis drawn on its own."""
    chance = random.Random(seed)
    names = [name for name in AXES if name in space]
    found: dict[tuple[Any, ...], Setting] = {}
    for _ in range(trials * DRAWS):
        setting = {name: _draw(space[name], whole=name in WHOLE, share=chance.random()) for name in names}
        setting = _meant(setting)
        found.setdefault(tuple(setting.items()), setting)
        if len(found) == trials:
            break
    return list(found.values())


def _meant(setting: Setting) -> Setting:
    """A setting without the rank that its method does not have: with one it would be tried twice."""
    return {name: value for name, value in setting.items() if name != RANK or has_rank(setting)}


def _different(settings: list[Setting]) -> list[Setting]:
    """Each one once, in order."""
    return list({tuple(setting.items()): setting for setting in settings}.values())


def _draw(axis: Axis, *, whole: bool, share: float) -> Any:
    if not isinstance(axis, Mapping):
        return axis[int(share * len(axis))]
    low, high = axis["min"], axis["max"]
    if whole and axis["scale"] == LINEAR:
        return low + int(share * (high - low + 1))
    if axis["scale"] == LINEAR:
        value = low + share * (high - low)
    else:
        value = low * (high / low) ** share
    value = round(value) if whole else float(f"{value:.4g}")
    return min(max(value, low), high)


def _shuffled(settings: list[Setting], chance: random.Random) -> list[Setting]:
    return [
        setting for _, setting in sorted(((chance.random(), setting) for setting in settings), key=lambda one: one[0])
    ]
