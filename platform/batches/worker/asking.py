"""Asking the lines of a batch, some at a time, and keeping what comes.

A line that the gateway cannot answer now (it is away, busy, or the engine is) is asked again; one that it refuses has
failed. Answers are stored every two seconds or four mebibytes: a killed worker loses no more than that, and what it
lost is asked again under the same request ids.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings

from batches.credential import identity_of, sign
from batches.lines import Line
from batches.models import Batch
from batches.services.results import Outcome, answered, results_keep
from batches.services.turns import Turn, others_wait
from batches.worker.door import Answer, Door
from batches.worker.watch import Stopped, Watch

TURN_SECONDS = 20.0
"""After which a batch gives its place to another that waits."""
GRACE_SECONDS = 10.0
"""How long the lines that are being answered then have."""
PARTING_SECONDS = 2.0
"""How long they have when the batch was cancelled or its window is over, and again to be broken off."""
STORE_SECONDS = 2.0
STORE_BYTES = 4 << 20
PATIENCE = 20
"""Answers in a row that say "not now" before the batch gives its place away."""
WAIT_SECONDS = 15.0
MONEY_SECONDS = 30.0
"""When it is worth asking again: an engine or gateway that is away; a spend limit."""
FAULTS = 3
"""Times that a line may meet a fault of ours; then it has failed."""
LATER = frozenset({0, 408, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a turn ended before the batch did; `waits_for` is empty where another batch has its turn."""

    waits_for: str = ""
    seconds: float = 0.0
    refused: str = ""
    """The gateway's words, where the batch's key opens nothing any more."""


@dataclass(slots=True)
class _Try:
    line: Line
    faults: int = 0
    due: float = 0.0


@dataclass
class Asker:
    """One turn at the lines of a batch."""

    turn: Turn
    watch: Watch
    lines: Iterator[Line]
    door: Door
    _running: dict[Future[Answer], _Try] = field(default_factory=dict)
    _again: deque[_Try] = field(default_factory=deque)
    _kept: list[Outcome] = field(default_factory=list)
    _bytes: int = 0
    _stored: float = field(default_factory=time.monotonic)
    _troubles: int = 0
    _pause: Pause | None = None
    _read: bool = False

    def run(self) -> Pause | None:
        """Ask until all lines have a result (None), or say why not. Raises Stopped and Fenced, with everything stored
        that had come before a Stopped."""
        began = time.monotonic()
        with ThreadPoolExecutor(settings.BATCH_CONCURRENCY, thread_name_prefix="line") as pool:
            try:
                while self._pause is None and self._fill(pool):
                    self._step()
                    if time.monotonic() - began > TURN_SECONDS:
                        began = time.monotonic()
                        self._pause = Pause() if others_wait() else None
                self._let_end()
            except Stopped:
                self._gather(PARTING_SECONDS)  # what is nearly there is paid for when it is; let it come
                self.door.abort()
                self._gather(PARTING_SECONDS)
                self._store()
                raise
            finally:
                self.door.abort()
        self._store()
        return self._pause

    def _fill(self, pool: ThreadPoolExecutor) -> bool:
        """Ask as many lines as may be asked at once; False when there are none left."""
        now = time.monotonic()
        while len(self._running) < settings.BATCH_CONCURRENCY:
            tried = self._next(now)
            if tried is None:
                break
            identity = identity_of(self.turn.batch_id, tried.line.number)
            self._running[pool.submit(self._ask, json.dumps(tried.line.body).encode(), identity)] = tried
        return bool(self._running or self._again)

    def _next(self, now: float) -> _Try | None:
        if self._again and self._again[0].due <= now:
            return self._again.popleft()
        if self._read or self._again:  # what could not be answered goes first: nothing new helps a busy engine
            return None
        line = next(self.lines, None)
        self._read = line is None
        return None if line is None else _Try(line)

    def _ask(self, body: bytes, identity: UUID) -> Answer:
        return self.door.ask(self.turn.endpoint, body, sign(self.turn.caller, identity))

    def _step(self) -> None:
        """Wait a little, take what has come, and look whether to go on."""
        if self._running:
            done, _ = wait(self._running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(self._running.pop(future), future.result())
        else:
            time.sleep(0.05)
        if time.monotonic() - self._stored > STORE_SECONDS or self._bytes > STORE_BYTES:
            self._store()
        self.watch.look()

    def _let_end(self) -> None:
        """Before another batch has the place: the lines that are being answered may end."""
        until = time.monotonic() + GRACE_SECONDS
        while self._running and time.monotonic() < until:
            self._step()

    def _gather(self, seconds: float) -> None:
        """Take what has come; what was broken off comes back as nothing, and is left."""
        done, _ = wait(self._running, timeout=seconds)
        for future in done:
            answer = future.result()
            if answer.status:
                self._take(self._running.pop(future), answer)

    def _take(self, tried: _Try, answer: Answer) -> None:
        status = answer.status
        if status in LATER:
            self._trouble(tried, answer)
        elif status == 402:
            self._pause = Pause(Batch.Waits.SPEND_LIMIT, MONEY_SECONDS)
        elif status == 401:
            self._pause = Pause(refused=_said(answer.body) or "The batch's API key opens nothing any more.")
        elif status == 403 and _code(answer.body) == "organization_suspended":
            self._pause = Pause(Batch.Waits.ORGANISATION, MONEY_SECONDS)
        elif status >= 500 and tried.faults + 1 < FAULTS:
            tried.faults += 1
            self._trouble(tried, answer)
        else:
            self._keep(tried, answer)

    def _trouble(self, tried: _Try, answer: Answer) -> None:
        self._troubles += 1
        if self._troubles >= PATIENCE:
            self._pause = Pause(Batch.Waits.ENGINE, WAIT_SECONDS)
        tried.due = time.monotonic() + max(answer.retry_after, min(0.1 * 2**self._troubles, 5.0))
        self._again.append(tried)

    def _keep(self, tried: _Try, answer: Answer) -> None:
        try:
            outcome = answered(self.turn, tried.line, answer.status, answer.body, answer.cost)
        except ValueError:  # not from our gateway, or cut off
            self._trouble(tried, answer)
            return
        self._troubles = 0
        self._kept.append(outcome)
        self._bytes += len(outcome.text)

    def _store(self) -> None:
        kept, self._kept, self._bytes = self._kept, [], 0
        self._stored = time.monotonic()
        if kept:
            results_keep(self.turn, kept)


def _error(body: bytes) -> dict[str, Any]:
    try:
        error = msgspec.json.decode(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _code(body: bytes) -> str:
    return str(_error(body).get("code") or "")


def _said(body: bytes) -> str:
    return str(_error(body).get("message") or "")
