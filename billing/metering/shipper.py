"""The shipper: carries events from the write-ahead files to a sink, in batches, again and again until they are there.

Order of one pass: own closed files, the own open file from where it stopped, files left behind by dead processes.
A file is removed only after the sink took all of it. The sink must accept doubles silently.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from billing.metering.events import UsageEvent, encode
from billing.metering.spool import SpoolWriter, abandoned, read_events

log = logging.getLogger(__name__)
BATCH = 500


class PoisonEvent(Exception):
    """The sink can never take this one event (its tenant is gone, say). It is set aside, not retried."""


class Sink(Protocol):
    """Where events go."""

    def __call__(self, events: Sequence[UsageEvent]) -> None:
        """Store all or none; doubles are dropped. PoisonEvent only for a batch of one."""


class Shipper:
    """Ships one folder. `start` runs it in a thread of its own; `ship` makes one pass."""

    def __init__(
        self,
        folder: Path | str,
        sink: Sink,
        *,
        writer: SpoolWriter | None = None,
        every_seconds: float = 0.5,
        on_pass: Callable[[int], None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sink, self._writer, self._every, self._on_pass = sink, writer, every_seconds, on_pass
        self._offset = 0
        self._current: Path | None = writer.path if writer else None
        self._closed: list[tuple[Path, int]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.shipped = 0
        self.failures = 0

    def ship(self) -> int:
        """One pass; how many events went out. Raises what the sink raised, with everything still in the files."""
        before = self.shipped
        caught_up_to_ms = time.time_ns() // 1_000_000
        if self._writer is not None:
            self._writer.sync()
            self._note_rotation()
            while self._closed:
                path, offset = self._closed[0]
                with contextlib.suppress(FileNotFoundError):  # another shipper of the folder was faster
                    self._ship_file(path, offset)
                    path.unlink()
                self._closed.pop(0)
            self._offset = self._ship_file(self._writer.path, self._offset)
        self._adopt()
        if self._on_pass is not None:
            self._on_pass(caught_up_to_ms)
        return self.shipped - before

    def _note_rotation(self) -> None:
        if self._writer is None:
            return
        closed = self._writer.rotate()
        if closed is not None:
            self._closed.append((closed, self._offset))
            self._offset = 0

    def _adopt(self) -> None:
        for path, file in abandoned(self.folder):
            try:
                if not any(path == mine for mine, _ in self._closed):
                    self._ship_file(path, 0)
                    path.unlink(missing_ok=True)
            finally:
                os.close(file)

    def _ship_file(self, path: Path, offset: int) -> int:
        batch: list[UsageEvent] = []
        for event, after in read_events(path, offset):
            batch.append(event)
            if len(batch) == BATCH:
                self._send(batch)
                batch, offset = [], after
                self._remember(path, offset)
            last = after
        if batch:
            self._send(batch)
            offset = last
        return offset

    def _remember(self, path: Path, offset: int) -> None:
        if self._writer is not None and path == self._writer.path:
            self._offset = offset

    def _send(self, batch: list[UsageEvent]) -> None:
        try:
            self._sink(batch)
        except PoisonEvent:
            if len(batch) == 1:
                self._set_aside(batch[0])
                return
            half = len(batch) // 2
            self._send(batch[:half])
            self._send(batch[half:])
            return
        self.shipped += len(batch)

    def _set_aside(self, event: UsageEvent) -> None:
        log.error("usage event %s cannot be stored; set aside in %s", event.event_id, self.folder / "rejected.jsonl")
        with (self.folder / "rejected.jsonl").open("ab") as file:
            file.write(encode(event) + b"\n")

    # -- thread ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Ship in the background until `stop`."""
        self._thread = threading.Thread(target=self._run, name="usage-shipper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ship what is left once more and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
        with contextlib.suppress(Exception):
            self.ship()

    def _run(self) -> None:
        while not self._stop.wait(self._delay()):
            try:
                self.ship()
                self.failures = 0
            except Exception:  # the files keep everything; the next pass tries again
                self.failures += 1
                log.warning("usage events wait in %s: the database did not take them", self.folder, exc_info=True)

    def _delay(self) -> float:
        return min(30.0, self._every * 2 ** min(self.failures, 6))
