"""`python -m training.lab CONFIG.json`: one run, events on stdout, free text on stderr.

Exit status: 0 done · 2 bad data or config · 3 diverged · 4 out of memory · 5 the disk is full · 75 stopped
on SIGTERM (after a checkpoint, if training had begun) · 1 a fault of the platform.

With several configs: LoRA runs over one base, side by side (`group.py`). Then each run's status is in its `end` event,
and the process ends with 0 once all have told theirs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from training.lab.config import TASKS, read_config
from training.lab.errors import BadData
from training.lab.events import Emitter, claim_stdout, tell_end


class StopSignal:
    """Set by SIGTERM or SIGINT; the recipe looks at it between steps."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def main(arguments: list[str]) -> int:
    """Run one config, or several over one base; returns the exit status."""
    stop = StopSignal()
    emit = Emitter(claim_stdout())
    try:
        if not arguments:
            raise BadData("Usage: python -m training.lab CONFIG.json [CONFIG.json …]")
        if len(arguments) == 1:
            _run(arguments[0], emit, stop)
        else:
            _run_group(arguments, emit, stop)
        return 0
    except Exception as error:  # every end is told as an event, then as an exit status
        return tell_end(error, emit)


def prepare_process() -> None:
    """Settings that must stand before torch and the tokenizer are loaded.

    A waiting OpenMP thread spins for some tens of microseconds and then sleeps. A step is thousands of short parallel
    regions: threads that sleep at once are woken for each of them, which makes training a third slower (so does
    OMP_WAIT_POLICY=PASSIVE); threads that spin for long hold a core that a neighbour needs.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def _run(path: str, emit: Emitter, stop: StopSignal) -> None:
    """Import the recipe only now: torch takes seconds, and a bad config should not wait for it."""
    config = read_config(path)
    prepare_process()
    recipe = _loaded(TASKS[config.task])
    if config.gpus == 1:
        recipe.run(config, emit, stop)
        return
    crew = _loaded("crew")
    if crew.RANK in os.environ:
        recipe.run(config, crew.Hushed(), crew.Never(), crew.join(config))
    else:
        recipe.run(config, emit, stop, crew.begin(path, config, emit))


def _run_group(paths: list[str], emit: Emitter, stop: StopSignal) -> None:
    prepare_process()
    _loaded("group").run(paths, emit, stop)


def _loaded(name: str) -> Any:
    """A module of the lab. While it loads there is nothing to collect, and the collector would read all of it often."""
    gc.disable()
    try:
        return importlib.import_module(f"training.lab.{name}")
    finally:
        gc.freeze()
        gc.enable()


def leave(status: int) -> NoReturn:
    """End the process at once: all is said and written, and to take down its libraries object by object takes a second
    in which a worker holds the place."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
