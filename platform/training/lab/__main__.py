"""`python -m training.lab CONFIG.json`: one run, events on stdout, free text on stderr.

Exit status: 0 done · 2 bad data or config · 3 diverged · 4 out of memory · 5 the disk is full · 75 stopped
on SIGTERM (after a checkpoint, if training had begun) · 1 a fault of the platform.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from types import FrameType

from training.lab.config import TASKS, Config, read_config
from training.lab.errors import BadData, Stopped, translated
from training.lab.events import Emitter, claim_stdout

_ADVICE = "Lower the batch size or 'token_budget', shorten 'max_length', or choose the method 'lora' or 'head'."


class StopSignal:
    """Set by SIGTERM or SIGINT; the recipe looks at it between steps."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def main(arguments: list[str]) -> int:
    """Run one config; returns the exit status."""
    stop = StopSignal()
    emit = Emitter(claim_stdout())
    try:
        if len(arguments) != 1:
            raise BadData("Usage: python -m training.lab CONFIG.json")
        config = read_config(arguments[0])
        prepare_process()
        _run(config, emit, stop)
        return 0
    except Stopped as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Exception as error:  # every end is told as an event, then as an exit status
        traceback.print_exc()
        known = translated(error, advice=_ADVICE)
        message = str(known) if known else f"The training failed inside: {type(error).__name__}."
        emit("error", code=known.code if known else "internal", message=message)
        return known.exit_code if known else 1


def prepare_process() -> None:
    """Settings that must stand before torch and the tokenizer are loaded.

    A waiting OpenMP thread spins for some tens of microseconds and then sleeps. A step is thousands of short parallel
    regions: threads that sleep at once are woken for each of them, which makes training a third slower (so does
    OMP_WAIT_POLICY=PASSIVE); threads that spin for long hold a core that a neighbour needs.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def _run(config: Config, emit: Emitter, stop: StopSignal) -> None:
    """Import the recipe only now: torch takes seconds, and a bad config should not wait for it."""
    importlib.import_module(f"training.lab.{TASKS[config.task]}").run(config, emit, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
