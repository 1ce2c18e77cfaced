"""Texts that stand on two sides of a split that the data came with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.similar import Groups


def split_leaks(splits: npt.NDArray[np.int64], groups: Groups) -> npt.NDArray[np.bool_]:
    """Return the rows outside training whose text (or near copy) also stands in another split; -1 is no split."""
    lowest = np.full(len(splits), 127)
    highest = np.full(len(splits), -1)
    np.minimum.at(lowest, groups, splits)
    np.maximum.at(highest, groups, splits)
    return (lowest[groups] != highest[groups]) & (splits > 0)
