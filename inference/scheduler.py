"""Decides which rows are computed next. Pure Python: knows no tensors, no threads, no clock.

Rows wait in lines: one per tenant, encoder and length class. A batch takes one encoder and one length class, so that
little of it is padding; only a small batch is filled up with rows one class shorter, because there size is worth more
than padding costs. The tenant that has received the least work for its weight chooses the line, and rows of other
tenants fill the batch in the same fair order. There is no timer: a batch is whatever waits when a lane (a thread that
computes, with cores of its own) is free.

Fairness is a virtual counter per tenant (work received divided by weight). A tenant that was away starts at the lowest
counter of those present, so that silence saves nothing up; a flood from one tenant fills its own queue and no other.

A batch that runs cannot be interrupted, so what a flood may do to others is bounded beforehand:
- A tenant with little waiting (`LIGHT`) shares no batch with one that has much; it never waits for the other's rows.
- The last free lane is closed to tenants with much waiting while any tenant that was here within `Limits.keep_s` could
  come back. So whoever calls at least that often finds a lane free, and the flood keeps all lanes but one.
- While several tenants are about (`Limits.about_s`) a batch takes at most `Limits.shared_s`, or `LIGHT` tokens where
  that is more. So a tenant that calls seldom, or with only one lane, waits at most that long for a stranger's batch.
- What may wait (`Request.background`) is taken only while nothing else waits, in batches of that size always, and never
  on the last free lane while anybody else was here a moment ago.

A request that all lanes together could not compute in `Limits.longest_s`, by the latest measurements of its base
(`inference.pace`), is refused, or ended once they are known: nobody would wait for its answer.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from inference.errors import Overloaded, TooLarge
from inference.pace import Pace

LENGTH_CLASSES = (16, 32, 64, 128, 256, 512)  # tokens
SMALL_BATCH = 16  # rows; below this, larger is faster even with padding
LIGHT = 512  # tokens; a tenant with no more waiting does not wait for those with more, and no batch must be smaller
LEAST_SPLIT = 8  # rows; what waits is divided among free lanes, but into no smaller batches


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on queues (in rows) and on a batch."""

    rows_per_tenant: int = 4096
    rows: int = 16384
    batch_rows: int = 64
    batch_tokens: int = 8192  # rows times the top of their length class
    wait_s: float = 20.0  # refuse what would wait longer than this
    longest_s: float = 25.0  # refuse what would take longer than this by itself; the gateway waits for 30 s
    shared_s: float = 0.025  # the longest batch while several tenants are about, by the measured speed
    about_s: float = 30.0  # how long a tenant counts as about after its last request
    keep_s: float = 1.0  # how long the last lane is kept for a tenant after its last request


@dataclass(slots=True, eq=False)
class Row:
    """One text of one request. `cost` estimates its tokens."""

    request: Request
    index: int
    cost: int


@dataclass(slots=True, eq=False)
class Request:
    """What the scheduler knows of a request. `group` names the encoder; rows of two groups never share a batch. `base`
    names what is computed at one speed."""

    tenant: str
    group: Hashable
    costs: list[int]
    base: str = ""
    weight: int = 1
    background: bool = False  # computed only while nothing else waits; `tenant` is then a line of its own
    cancelled: bool = False
    pending: int = 0  # rows not yet computed
    queued: int = 0  # rows not yet taken into a batch
    queued_cost: int = 0


@dataclass(slots=True)
class _Queue:
    """The waiting rows of one tenant."""

    tenant: str
    received: float
    background: bool = False
    lines: dict[tuple[Hashable, int], deque[tuple[int, Row]]] = field(default_factory=dict)
    rows: int = 0
    cost: int = 0

    def oldest_line(self) -> tuple[Hashable, int]:
        return min(self.lines, key=lambda line: self.lines[line][0][0])


class Scheduler:
    """Bounded queues and fair batches for `lanes` threads. Not thread-safe: the caller holds a lock.

    Times are seconds of any one clock. Who takes a batch says when it is done with `finish`.
    """

    def __init__(self, limits: Limits | None = None, lanes: int = 1) -> None:
        self.limits = limits or Limits()
        self.lanes = lanes
        self.rows = 0
        self.cost = 0
        self.refused = 0
        self.speed = 0.0  # cost per second of one lane in batches of any size; 0 while unknown
        self.pace = Pace()
        self._queues: dict[str, _Queue] = {}
        self._received: dict[str, float] = {}
        self._floor = 0.0
        self._arrivals = 0
        self._running: list[frozenset[str]] = []  # the tenants of each batch being computed
        self._seen: OrderedDict[str, float] = OrderedDict()  # latest request by tenant, latest last

    @property
    def tenants(self) -> int:
        """Tenants with something waiting."""
        return len(self._queues)

    @property
    def expected_wait_s(self) -> float:
        """Time until everything that waits now is computed; 0 while the speed is unknown."""
        return self.cost / (self.speed * self.lanes) if self.speed else 0.0

    def submit(self, request: Request, now: float = 0.0) -> None:
        """Queue every row of a request, or none. Raises `Overloaded` or `TooLarge` at the door."""
        if (hopeless := self.hopeless(request, sum(request.costs), now)) is not None:
            self.refused += 1
            raise hopeless
        self._admit(request)
        self._see(request.tenant, now)
        queue = self._queues.get(request.tenant)
        if queue is None:
            received = max(self._received.pop(request.tenant, 0.0), self._floor)
            queue = self._queues[request.tenant] = _Queue(request.tenant, received, request.background)
        request.pending = request.queued = len(request.costs)
        request.queued_cost = sum(request.costs)
        for index, cost in enumerate(request.costs):
            line = queue.lines.setdefault((request.group, length_class(cost)), deque())
            line.append((self._arrivals, Row(request, index, cost)))
            self._arrivals += 1
        self._count(queue, request.queued, request.queued_cost)

    def cancel(self, request: Request) -> None:
        """Skip what of a request is still queued, and stop counting it at once."""
        request.cancelled = True
        queue = self._queues.get(request.tenant)
        if queue is not None and request.queued:
            self._count(queue, -request.queued, -request.queued_cost)
            request.queued = request.queued_cost = 0

    def _count(self, queue: _Queue, rows: int, cost: int) -> None:
        queue.rows += rows
        queue.cost += cost
        self.rows += rows
        self.cost += cost

    def next_batch(self, now: float = 0.0) -> list[Row]:
        """The rows to compute now; empty if nothing waits, or nothing that this lane may take."""
        while fair := self._eligible(now):
            alike = [queue for queue in self._queues.values() if queue.background == fair[0].background]
            self._floor = min(queue.received for queue in alike)
            group, length = fair[0].oldest_line()
            limits = self.limits
            free = max(self.lanes - len(self._running), 1)
            room = max(
                1, min(limits.batch_rows, limits.batch_tokens // length, max(-(-self.rows // free), LEAST_SPLIT))
            )
            bounded = fair[0].background or self._several(now)
            cost = max(limits.shared_s * self.speed, LIGHT) if bounded else 0.0
            batch: list[Row] = []
            self._fill(batch, fair, group, length, room, cost)
            shorter = LENGTH_CLASSES[max(LENGTH_CLASSES.index(length) - 1, 0)]
            if shorter != length:
                self._fill(batch, fair, group, shorter, min(room, SMALL_BATCH), cost)
            for queue in fair:
                if not queue.lines:
                    self._leave(queue)
            if batch:
                self._running.append(frozenset(row.request.tenant for row in batch))
                return batch
        return []

    def finish(self, batch: list[Row], now: float = 0.0) -> None:
        """A batch is computed, or has failed; its tenants count as seen just now."""
        tenants = frozenset(row.request.tenant for row in batch)
        self._running.remove(tenants)
        for tenant in tenants:
            self._see(tenant, now)

    def measured(self, batch: list[Row], seconds: float, now: float = 0.0) -> None:
        """A batch was computed in so long."""
        cost = sum(row.cost for row in batch)
        speed = cost / max(seconds, 1e-6)
        self.speed = speed if not self.speed else 0.9 * self.speed + 0.1 * speed
        if any(row.request.queued for row in batch):  # it took all that it could, and not all that there was
            self.pace.note(batch[0].request.base, cost, seconds, now)

    def hopeless(self, request: Request, cost: int, now: float = 0.0) -> TooLarge | None:
        """Why so much of a request cannot be computed in time even by all lanes; None where it can, or who knows."""
        seconds = cost / (speed * self.lanes) if (speed := self.pace.of(request.base, now)) else 0.0
        if seconds <= self.limits.longest_s:
            return None
        parts = math.ceil(seconds / self.limits.longest_s)
        return TooLarge(
            f"This request would take about {seconds:.0f} seconds to compute, and one may take "
            f"{self.limits.longest_s:g}. Divide its texts into {parts} requests or more, or into as many lines of a "
            "batch (POST /v1/batches)."
        )

    def _eligible(self, now: float) -> list[_Queue]:
        """The tenants whose rows the next batch may take, the one that received least first."""
        fair = sorted(self._queues.values(), key=lambda queue: (queue.background, queue.received))
        if fair and not fair[0].background:
            fair = [queue for queue in fair if not queue.background]
        light = [queue for queue in fair if queue.cost <= LIGHT and not queue.background]
        heavy = [queue for queue in fair if queue.cost > LIGHT or queue.background]
        if heavy and self.lanes > 1 and len(self._running) >= self.lanes - 1:
            computing = frozenset[str]().union(*self._running)
            if self._anybody_else(computing | {queue.tenant for queue in heavy}, now):
                heavy = []
            else:
                heavy = [queue for queue in heavy if queue.tenant not in computing] or heavy
        if light and heavy:
            return light if light[0].received <= heavy[0].received else heavy
        return light or heavy

    def _anybody_else(self, than: frozenset[str], now: float) -> bool:
        """Whether a tenant that is not one of these was here a moment ago."""
        for tenant, when in reversed(self._seen.items()):
            if now - when > self.limits.keep_s:
                return False
            if tenant not in than:
                return True
        return False

    def _several(self, now: float) -> bool:
        """Whether more than one tenant is about."""
        latest = itertools.islice(reversed(self._seen.values()), 1, 2)
        return any(now - when <= self.limits.about_s for when in latest)

    def _see(self, tenant: str, now: float) -> None:
        self._seen[tenant] = now
        self._seen.move_to_end(tenant)
        oldest = next(iter(self._seen))
        if now - self._seen[oldest] > self.limits.about_s:
            del self._seen[oldest]

    def _admit(self, request: Request) -> None:
        new, limits = len(request.costs), self.limits
        queue = self._queues.get(request.tenant)
        rows, cost = (queue.rows, queue.cost) if queue else (0, 0)
        if rows + new > limits.rows_per_tenant:
            self.refused += 1
            raise Overloaded("Too many of your texts are waiting; send the next ones later.", retry_after=self._hint())
        full = self.rows + new > limits.rows and (rows + new) * (self.tenants + (not rows)) > limits.rows
        if self.rows and (full or self._wait(cost + sum(request.costs)) > limits.wait_s):
            self.refused += 1
            raise Overloaded("The engine is busy; try again shortly.", retry_after=self._hint())

    def _wait(self, cost: int) -> float:
        """Seconds until a tenant with so much waiting is served: of the others' queues, in fair turns, no more than
        its own comes before it. So a flood closes the door to itself and not to those who send little."""
        if not self.speed or self.cost + cost <= self.limits.wait_s * self.speed:  # the usual case, without a sum
            return 0.0
        others = sum(min(queue.cost, cost) for queue in self._queues.values() if not queue.background)
        return (others + cost) / (self.speed * self.lanes)

    def _hint(self) -> float:
        """Seconds after which half of the queue should be gone."""
        return min(max(self.expected_wait_s / 2, 1.0), 30.0)

    def _fill(
        self, batch: list[Row], fair: list[_Queue], group: Hashable, length: int, room: int, bound: float
    ) -> None:
        """Add rows of one line from these tenants up to `room` rows and, unless 0, `bound` cost, always from the
        tenant that received least."""
        cost = sum(row.cost for row in batch)
        sources = [(queue, line) for queue in fair if (line := queue.lines.get((group, length)))]
        while sources and len(batch) < room:
            queue, line = min(sources, key=lambda source: source[0].received)
            if batch and bound and cost + line[0][1].cost > bound:
                return
            row = self._take(queue, line)
            if row is not None:
                queue.received += row.cost / row.request.weight
                cost += row.cost
                batch.append(row)
            if not line:
                del queue.lines[group, length]
                sources.remove((queue, line))

    def _take(self, queue: _Queue, line: deque[tuple[int, Row]]) -> Row | None:
        """The first row of a line, or None if its request was cancelled meanwhile."""
        _, row = line.popleft()
        if row.request.cancelled:
            return None
        row.request.queued -= 1
        row.request.queued_cost -= row.cost
        self._count(queue, -1, -row.cost)
        return row

    def _leave(self, queue: _Queue) -> None:
        """Remember what a tenant received only while it is ahead of the others."""
        del self._queues[queue.tenant]
        self._received[queue.tenant] = queue.received
        if not self._queues:
            self._received.clear()
            self._floor = 0.0
        elif len(self._received) > 4096:
            self._received = {t: v for t, v in self._received.items() if v > self._floor}


def length_class(cost: int) -> int:
    """The class whose top is not below `cost`; everything longer shares the last one."""
    return next((top for top in LENGTH_CLASSES if cost <= top), LENGTH_CLASSES[-1])
