"""The threads that compute, one per lane: each takes a batch from the scheduler, tokenises it at once, runs it, hands
results back."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from inference import scheduler as scheduling
from inference import tasks, tracing
from inference.adapters import Stacker
from inference.encoder import Encoder, mean
from inference.errors import EngineError, Internal
from inference.preemption import LONGEST_S, take_slice
from inference.residents import Head, Resident
from inference.scheduler import Row, Scheduler
from inference.sheets import Sheet
from inference.tensors import Array

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.1  # a lane that was closed to what waits may have opened, and nobody says so
LONG_BATCH_S = 0.01  # a batch that holds its core for longer gives way to whoever wakes up there
LENGTH_STEP = 8  # batches are padded to a multiple, so that the backend meets few different shapes


@dataclass(slots=True, eq=False)
class Job(scheduling.Request):
    """A request with its texts (or pairs of them) and, row by row, its results. Without a `head` the results are unit
    vectors, cut to `dimensions` numbers and brought to length one again where they are given (Kusupati et al.,
    Matryoshka, 2022).

    A head that judges every token takes `sheets` instead of texts, and its results are `marks`, one array a sheet: of
    each token the likeliest label and its chance; where questions are answered, the two numbers of the sheet's first
    token, then those of each token of the context.

    `answer` is for whoever submitted the job; the runner hands jobs back in groups and calls nothing per job.
    """

    resident: Resident = field(kw_only=True)
    head: Head | None = field(kw_only=True)
    tokenizer: Tokenizer = field(kw_only=True)
    texts: Sequence[str | tuple[str, str]] = field(kw_only=True)
    answer: Callable[[Job, EngineError | None], None] = field(kw_only=True)
    dimensions: int = field(default=0, kw_only=True)
    sheets: list[Sheet] | None = field(default=None, kw_only=True)
    trace: str = field(default="", kw_only=True)  # the traceparent of who asked; empty for nobody
    rows: Array = field(init=False)  # [texts, labels] probabilities, or [texts, dimensions] unit vectors
    lengths: list[int] = field(init=False)
    marks: list[Array] = field(init=False)
    compute_s: float = field(default=0.0, init=False)
    batch_rows: int = field(default=0, init=False)  # of the largest batch it had a part in
    started: float = field(default_factory=time.perf_counter, init=False)
    begun: float = field(default=0.0, init=False)  # when its first row left the queue

    def __post_init__(self) -> None:
        head = self.head
        width = (self.dimensions or self.resident.encoder.geometry.hidden) if head is None else head.bias.shape[0]
        self.rows = np.empty((len(self.texts), width), np.float32)
        self.lengths = [0] * len(self.texts)
        self.marks = [np.empty((0, 2), np.float32)] * len(self.sheets or ())

    @property
    def whole(self) -> bool:
        """Whether its rows need every token's vector: pairs, and rows that are judged token by token."""
        return self.sheets is not None or bool(self.texts and isinstance(self.texts[0], tuple))


@dataclass(slots=True)
class Counters:
    """What the runner did since it started."""

    requests: int = 0
    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    cancelled: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=2048))  # seconds

    def percentiles(self) -> tuple[float, float, float]:
        """p50, p95 and p99 of the last requests in milliseconds; zeros before the first."""
        if not self.latencies:
            return 0.0, 0.0, 0.0
        p50, p95, p99 = np.percentile(np.array(list(self.latencies)) * 1000, [50, 95, 99])
        return float(p50), float(p95), float(p99)


class Runner:
    """Owns the scheduler's lock and a compute thread for each of its lanes.

    `deliver` receives, on a compute thread, the jobs that a batch finished and what went wrong with them.
    """

    def __init__(self, scheduler: Scheduler, deliver: Callable[[list[Job], EngineError | None], None]) -> None:
        self.scheduler = scheduler
        self._deliver = deliver
        self.counters = Counters()
        self._stackers: dict[Encoder, Stacker] = {}
        self._planning = threading.Lock()
        self._work = threading.Lock()
        self._idle: list[threading.Condition] = []  # of lanes that wait, the one that computed last at the end
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._loop, name=f"compute-{lane}", daemon=True) for lane in range(scheduler.lanes)
        ]

    def start(self) -> None:
        """Start computing."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the current batches and end the threads."""
        with self._work:
            self._stopping = True
            while self._idle:
                self._wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)

    def submit(self, job: Job) -> None:
        """Queue a job. Raises `Overloaded`."""
        with self._work:
            self.scheduler.submit(job, time.monotonic())
            self._wake()

    def cancel(self, job: Job) -> None:
        """Skip whatever of a job is not computed yet."""
        with self._work:
            if not job.cancelled and job.pending:
                self.scheduler.cancel(job)
                self.counters.cancelled += 1

    def _wake(self) -> None:
        """Let a lane look at what waits: the one that computed last, whose caches are warm."""
        if self._idle:
            self._idle.pop().notify()

    def _next_batch(self, lane: threading.Condition) -> list[Row]:
        """Wait for rows; empty once the runner stops."""
        with self._work:
            while not self._stopping and not (batch := self.scheduler.next_batch(time.monotonic())):
                self._idle.append(lane)
                lane.wait(LOOK_AGAIN_S if self.scheduler.rows else None)
                if lane in self._idle:
                    self._idle.remove(lane)
            if self._stopping:
                return []
            if self.scheduler.rows:
                self._wake()  # there may be something for the next lane
            return batch

    def _loop(self) -> None:
        lane = threading.Condition(self._work)
        while batch := self._next_batch(lane):
            started = time.perf_counter()
            long = sum(row.cost for row in batch) > LONG_BATCH_S * self.scheduler.speed > 0
            if long:
                take_slice(LONGEST_S)
            try:
                tokens, padded = self._compute(batch)
            except Exception as error:  # a batch may fail; the engine may not
                log.exception("a batch of %d rows failed", len(batch))
                self._settle(batch, started, 0, 0, _as_engine_error(error))
            else:
                if tracing.on():
                    _trace_batch(batch, started, tokens, padded)
                self._settle(batch, started, tokens, padded, None)
            if long:
                take_slice(0)

    def _compute(self, batch: list[Row]) -> tuple[int, int]:
        """Run one batch and write each row's result into its job. Returns the number of tokens, real and padded."""
        jobs: list[Job] = [row.request for row in batch]  # type: ignore[misc]  # only jobs are ever submitted
        encoder = jobs[0].resident.encoder
        # 1. tokens: all texts at once, in Rust
        rows = _tokens(jobs, batch)
        ids, mask, tokens = _pad([one for one, _ in rows], jobs)
        # 2. vectors: one forward for every tenant in the batch
        plan = None
        if any(job.resident.adapter is not None for job in jobs):
            with self._planning:
                stacker = self._stackers.get(encoder)
                if stacker is None:
                    stacker = self._stackers[encoder] = Stacker(encoder.geometry)
                plan = stacker.plan([job.resident.adapter for job in jobs])
        weight = _weight(mask, jobs)
        if any(job.whole for job in jobs):
            states = encoder.states(ids, mask, plan, _types([types for _, types in rows], ids))
            pooled = mean(states, mask if weight is None else weight)
            _mark(states, jobs, batch)
        else:
            pooled = encoder.encode(ids, mask, plan, weight)
        # 3. heads: each model's rows together
        _apply_heads(pooled, jobs, batch)
        return tokens, ids.size

    def _settle(self, batch: list[Row], started: float, tokens: int, padded: int, error: EngineError | None) -> None:
        """Count the batch, and finish every job that has no row left to wait for."""
        seconds = time.perf_counter() - started
        counters, share = self.counters, seconds / len(batch)
        done: list[Job] = []
        hopeless: list[tuple[Job, EngineError]] = []
        with self._work:
            counters.batches += 1
            counters.rows += len(batch)
            counters.tokens += tokens
            counters.padded_tokens += padded
            moment = time.monotonic()
            self.scheduler.finish(batch, moment)
            if error is None:
                self.scheduler.measured(batch, seconds, moment)
            for row in batch:
                job: Job = row.request  # type: ignore[assignment]
                job.compute_s += share
                job.batch_rows = max(job.batch_rows, len(batch))
                job.begun = job.begun or started
                job.pending -= 1
                if error is not None and not job.cancelled:
                    self.scheduler.cancel(job)
                    done.append(job)
                elif not job.pending and not job.cancelled:
                    done.append(job)
            for job in {row.request: None for row in batch}:  # type: ignore[assignment]
                if job.queued and (why := self.scheduler.hopeless(job, job.queued_cost, moment)) is not None:
                    self.scheduler.cancel(job)
                    hopeless.append((job, why))
            now = time.perf_counter()
            for job in done:
                counters.requests += 1
                counters.latencies.append(now - job.started)
        if done:
            self._deliver(done, error)
        for job, reason in hopeless:
            self._deliver([job], reason)


def _trace_batch(batch: list[Row], started: float, tokens: int, padded: int) -> None:
    """A batch belongs to nobody: a trace of its own, linked to every traced request in it; and what it was for each."""
    traces = sorted({row.request.trace for row in batch if row.request.trace})  # type: ignore[attr-defined]
    if not traces:
        return
    began, ended = tracing.wall_ns(started), tracing.wall_ns(time.perf_counter())
    tracing.record("batch", "", began, ended, links=traces, rows=len(batch), tokens=tokens, padded_tokens=padded)
    for trace in traces:
        tracing.record("compute", trace, began, ended, batch_rows=len(batch))


def _as_engine_error(error: Exception) -> EngineError:
    return error if isinstance(error, EngineError) else Internal("The engine failed on this batch; see its log.")


def _tokens(jobs: list[Job], batch: list[Row]) -> list[tuple[list[int], list[int] | None]]:
    """Ids of each row, and of a pair the text that each token belongs to. Cuts each text at its model's limit, keeping
    the last token, which ends every sequence; the full length is left in the job, so that the caller can report the
    cut."""
    rows: list[tuple[list[int], list[int] | None] | None] = []
    for job, row in zip(jobs, batch, strict=True):
        sheet = job.sheets[row.index] if job.sheets is not None else None
        rows.append(None if sheet is None else (sheet.ids, sheet.types))
    texts = [j.texts[r.index] for j, r, done in zip(jobs, batch, rows, strict=True) if done is None]
    encodings = iter(jobs[0].tokenizer.encode_batch_fast(texts) if texts else ())
    found = []
    for job, row, done in zip(jobs, batch, rows, strict=True):
        if done is None:
            encoding, limit = next(encodings), job.resident.max_length
            ids = encoding.ids
            job.lengths[row.index] = len(ids)
            if job.whole:
                done = _cut_pair(encoding, limit)
            else:
                done = (ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]), None
        found.append(done)
    return found


def _cut_pair(encoding: Encoding, limit: int) -> tuple[list[int], list[int]]:
    """A pair within the limit: the shorter text stays whole, if it takes no more than half."""
    ids, types, sequences = encoding.ids, encoding.type_ids, encoding.sequence_ids
    first, second = sequences.count(0), sequences.count(1)
    room = limit - (len(ids) - first - second)
    if first + second <= room:
        return ids, types
    half = room // 2
    most = (min(first, max(room - second, room - half)), min(second, max(room - first, half)))
    kept, seen = [], [0, 0]
    for place, sequence in enumerate(sequences):
        if sequence is None or seen[sequence] < most[sequence]:
            kept.append(place)
        if sequence is not None:
            seen[sequence] += 1
    return [ids[place] for place in kept], [types[place] for place in kept]


def _pad(rows: list[list[int]], jobs: list[Job]) -> tuple[Any, Array, int]:
    """ids int32 and mask float32, both [rows, T]."""
    longest = max(map(len, rows))
    width = min(-(-longest // LENGTH_STEP) * LENGTH_STEP, max(longest, jobs[0].resident.encoder.geometry.positions))
    padded = np.zeros((len(rows), width), np.int32)
    mask = np.zeros((len(rows), width), np.float32)
    for index, ids in enumerate(rows):
        padded[index, : len(ids)] = ids
        mask[index, : len(ids)] = 1.0
    return padded, mask, sum(map(len, rows))


def _types(rows: list[list[int] | None], ids: Any) -> Any:
    """Which text of a pair each token belongs to, int32 [rows, T]; zero where there is one text."""
    types = np.zeros_like(ids)
    for index, row in enumerate(rows):
        if row is not None:
            types[index, : len(row)] = row
    return types


def _mark(states: Array, jobs: list[Job], batch: list[Row]) -> None:
    """states [rows, T, hidden] -> what the heads say of each token, in place of their jobs' marks."""
    for position, (job, row) in enumerate(zip(jobs, batch, strict=True)):
        if job.sheets is None or job.head is None:
            continue
        sheet = job.sheets[row.index]
        own = states[position, sheet.begin : sheet.begin + sheet.count]
        if job.head.task == tasks.ANSWERS:
            job.marks[row.index] = job.head.logits(np.concatenate([states[position, :1], own]))
        elif sheet.count:
            chances = _softmax(job.head.logits(own))
            job.marks[row.index] = np.stack([chances.argmax(1).astype(np.float32), chances.max(1)], axis=1)


def _weight(mask: Array, jobs: list[Job]) -> Array | None:
    """What each token counts for, [rows, T]; None where every row takes the mean of all its tokens."""
    first = [index for index, job in enumerate(jobs) if job.resident.pooling == "cls"]
    if not first:
        return None
    weight = mask.copy()
    weight[first] = 0.0
    weight[first, 0] = 1.0
    return weight


def _apply_heads(pooled: Array, jobs: list[Job], batch: list[Row]) -> None:
    """pooled [rows, hidden] -> what each job asks for, in place of its rows."""
    alike: dict[tuple[Head | None, int], list[int]] = {}
    for position, job in enumerate(jobs):
        if job.sheets is None:
            alike.setdefault((job.head, job.dimensions), []).append(position)
    for (head, dimensions), positions in alike.items():
        vectors = pooled[positions]
        if head is None:
            vectors = vectors[:, : dimensions or None]
            results = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        else:
            results = ACTIVATIONS[head.task](head.logits(vectors))
        for position, result in zip(positions, results, strict=True):
            jobs[position].rows[batch[position].index] = result


def _softmax(logits: Array) -> Array:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Array = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _sigmoid(logits: Array) -> Array:
    tanh: Array = np.tanh(logits / np.float32(2))  # the same function, without an overflow
    return (1 + tanh) / np.float32(2)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    tasks.CLASSIFICATION: _softmax,
    tasks.MULTI_LABEL: _sigmoid,
    tasks.REGRESSION: lambda values: values,
    tasks.RERANK: _sigmoid,
}
"""What turns the head's numbers into the answer of its task."""
