"""One trainer for several jobs over one base (docs/decisions/0026), as a trainer of its own for each of them.

Each job keeps its supervisor, lease, place, folder, limits of disk, and end. What it asks of its trainer is done to its
run alone: a stop is the file `stop` in its output folder, and being killed means that nobody listens to its run any
more, while that is asked to stop. Once all runs are over or killed, the process is killed.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Sequence
from typing import Any

from kit.processes import Process
from training.worker.contract import REFUSED
from training.worker.trainer import MOST_WAITING, Trainer
from training.worker.workfolder import WorkFolder

logger = logging.getLogger(__name__)

KILLED = -9
CHATTER = ("step", "warning", REFUSED)
"""What a run that nobody listens to for long says in vain; of what its end and its checkpoints hang on there is room
for as much again."""


class Part:
    """One job's part of a trainer; a supervisor takes it for a trainer."""

    def __init__(self, shared: "Shared", folder: WorkFolder, *, runs: int) -> None:
        self._shared, self._trainer, self._folder, self.runs = shared, shared.trainer, folder, runs
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._status: int | None = None
        self._over = False
        self._killed = False
        self.gone = threading.Event()
        """Set once its run does nothing any more, whoever listens."""

    def take(self, event: dict[str, Any] | None) -> None:
        """What its run said; None after the process's last word."""
        if event is None or event.get("event") == "end":
            self.gone.set()
        elif self._events.qsize() >= (MOST_WAITING if event["event"] in CHATTER else 2 * MOST_WAITING):
            return  # the others are not to wait for it
        self._events.put(event)

    def next(self, timeout: float) -> dict[str, Any] | None:
        """The next event, or None when none came in time."""
        if self.ended:
            return None
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if event is None:
            self._over = True
        elif event.get("event") == "end":
            self._status, self._over = event["status"], True
            return None
        return event

    @property
    def ended(self) -> bool:
        """Whether its run has said its last word, or nobody listens to it any more."""
        return self._over or self._killed

    @property
    def told(self) -> bool:
        """Whether the run itself told its end."""
        return self._status is not None

    def wait(self) -> int:
        """The exit status that the run would have had alone, or that of the process where it told none."""
        if self._status is not None:
            return self._status
        return KILLED if self._killed else self._trainer.wait()

    def ask_stop(self) -> None:
        """Write a checkpoint and leave, at the next step."""
        with contextlib.suppress(OSError):
            self._folder.ask_stop()

    def kill(self, *, everybody: bool = False) -> None:
        """Its run is over, whatever it still does until it sees that it was asked to stop; with `everybody` the process
        is, at once."""
        self._killed = True
        self.ask_stop()
        self._shared.kill_unheard(everybody=everybody)

    @property
    def was_killed_by_us(self) -> bool:
        """Whether `kill` was called."""
        return self._killed

    def processes(self) -> list[Process]:
        """Everything that runs for all of them."""
        return self._shared.processes()

    @property
    def oom_kills(self) -> int:
        """How often the kernel has killed in their control group for memory."""
        return self._trainer.oom_kills

    def last_words(self, lines: int = 30) -> str:
        """The end of the process's stderr, for the operator's log."""
        return self._trainer.last_words(lines)


class Shared:
    """Deals a trainer's events to the jobs that share it, in the order of its configs."""

    def __init__(self, trainer: Trainer, folders: Sequence[WorkFolder]) -> None:
        self.trainer, self._lock = trainer, threading.Lock()
        self._puzzled = False
        self.parts = [Part(self, folder, runs=len(folders)) for folder in folders]
        threading.Thread(target=self._deal, name="trainer-deal", daemon=True).start()

    def processes(self) -> list[Process]:
        """Everything that runs for all of them."""
        with self._lock:
            return self.trainer.processes()

    def kill_unheard(self, *, everybody: bool = False) -> None:
        """Kill the process if nobody listens to any of its runs any more, or everybody is to end."""
        if everybody or all(part.ended for part in self.parts):
            self.trainer.kill()

    def _deal(self) -> None:
        try:
            while not self._has_ended():
                event = self.trainer.next(0.2)
                if event is not None:
                    self._deal_one(event)
        finally:
            for part in self.parts:
                part.take(None)

    def _has_ended(self) -> bool:
        with self._lock:
            return self.trainer.ended

    def _deal_one(self, event: dict[str, Any]) -> None:
        job = event.pop("job", None)
        if isinstance(job, int) and 0 <= job < len(self.parts):
            self.parts[job].take(event)
        elif not self._puzzled:
            self._puzzled = True
            logger.warning("a shared trainer said something of none of its jobs: %s", event)
