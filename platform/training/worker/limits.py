"""What one attempt may take of its host, and a look once a second at what it takes.

A control group with its controllers delegated stops memory and processes at once. This look is what holds without one;
it needs no right that a worker does not have.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from kit.processes import proportional
from training.worker import memory
from training.worker.outcome import Excess
from training.worker.together import Part
from training.worker.trainer import Trainer

LOOK_SECONDS = 1.0
HOST_SHARE = 0.9
"""Of the host's memory, for all its places together."""
MOST_FILES, DEEPEST, TOO_MUCH = 200_000, 40, 1 << 62


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of memory and of scratch, and processes."""

    memory: int
    disk: int
    processes: int


def limits_of(width: int) -> Limits:
    """The limits of an attempt on so many places."""
    share = settings.TRAINING_MEMORY_MB * 1_000_000 or int(memory.total() * HOST_SHARE / settings.TRAINING_SLOTS)
    return Limits(share * width, settings.TRAINING_DISK_MB * 1_000_000, settings.TRAINING_PROCESSES * width)


def limits_together(each: Sequence[Limits]) -> Limits:
    """The limits of jobs that share a process: what all of them may take, but for scratch, where each has its own."""
    memory, processes = sum(one.memory for one in each), sum(one.processes for one in each)
    return Limits(memory, each[0].disk, processes)


class Watch:
    """Looks at one attempt. `peak` is the most memory seen, in bytes."""

    def __init__(self, trainer: Trainer | Part, folder: Path, limits: Limits) -> None:
        self.peak = 0
        self._trainer, self._folder, self._limits = trainer, folder, limits
        self._looked = 0.0

    def look(self, moment: float) -> Excess | None:
        """What it has too much of; None when nothing, or when the last look was less than a second ago."""
        if moment - self._looked < LOOK_SECONDS:
            return None
        self._looked = moment
        processes = self._trainer.processes()
        if len(processes) > self._limits.processes:
            return Excess("processes", len(processes), self._limits.processes)
        used = sum(one.resident for one in processes)
        if used > self._limits.memory:  # perhaps only because forked processes share it
            used = proportional(one.pid for one in processes)
        self.peak = max(self.peak, used)
        if used > self._limits.memory:
            return Excess("out_of_memory", used, self._limits.memory)
        held = folder_bytes(self._folder)
        return Excess("disk", held, self._limits.disk) if held > self._limits.disk else None


def folder_bytes(folder: Path) -> int:
    """Bytes a folder takes on the disk; a file with several names counts once. Too many files, and folders that are too
    deep to look into or closed to us, count as too many bytes: nobody may keep us counting, or from it."""
    found: set[int] = set()
    held = 0
    waiting = [str(folder)]
    while waiting:
        inside = waiting.pop()
        if inside.count(os.sep) - str(folder).count(os.sep) > DEEPEST:
            return TOO_MUCH
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    if facts.st_ino not in found:
                        found.add(facts.st_ino)
                        held += facts.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except PermissionError:
            return TOO_MUCH
        except OSError:  # it was removed while we looked
            continue
        if len(found) > MOST_FILES:
            return TOO_MUCH
    return held
