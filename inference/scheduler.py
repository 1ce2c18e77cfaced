"""Decides which rows are computed next. Pure Python: knows no tensors, no threads, no clock.

Rows wait in lanes: one per tenant, encoder and length class. A batch takes one encoder and one length class, so that
little of it is padding; only a small batch is filled up with rows one class shorter, because there size is worth more
than padding costs. The tenant that has received the least work for its weight chooses the lane, and rows of all tenants
fill the batch in the same fair order. There is no timer: a batch is whatever waits when the last one is done.

Fairness is a virtual counter per tenant (work received divided by weight). A tenant that was away starts at the lowest
counter of those present, so that silence saves nothing up; a flood from one tenant fills its own queue and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from inference.errors import Overloaded

LENGTH_CLASSES = (16, 32, 64, 128, 256, 512)  # tokens
SMALL_BATCH = 16  # rows; below this, larger is faster even with padding


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on queues (in rows) and on a batch."""

    rows_per_tenant: int = 4096
    rows: int = 16384
    batch_rows: int = 64
    batch_tokens: int = 8192  # rows times the top of their length class
    wait_s: float = 20.0  # refuse what would wait longer than this


@dataclass(slots=True, eq=False)
class Row:
    """One text of one request. `cost` estimates its tokens."""

    request: Request
    index: int
    cost: int


@dataclass(slots=True, eq=False)
class Request:
    """What the scheduler knows of a request. `group` names the encoder; rows of two groups never share a batch."""

    tenant: str
    group: Hashable
    costs: list[int]
    weight: int = 1
    cancelled: bool = False
    pending: int = 0  # rows not yet computed
    queued: int = 0  # rows not yet taken into a batch
    queued_cost: int = 0


@dataclass(slots=True)
class _Queue:
    """The waiting rows of one tenant."""

    tenant: str
    received: float
    lanes: dict[tuple[Hashable, int], deque[tuple[int, Row]]] = field(default_factory=dict)
    rows: int = 0

    def oldest_lane(self) -> tuple[Hashable, int]:
        return min(self.lanes, key=lambda lane: self.lanes[lane][0][0])


class Scheduler:
    """Bounded queues and fair batches. Not thread-safe: the caller holds a lock."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.rows = 0
        self.cost = 0
        self.refused = 0
        self.speed = 0.0  # cost per second, as the caller measures it; 0 while unknown
        self._queues: dict[str, _Queue] = {}
        self._received: dict[str, float] = {}
        self._floor = 0.0
        self._arrivals = 0

    @property
    def tenants(self) -> int:
        """Tenants with something waiting."""
        return len(self._queues)

    @property
    def expected_wait_s(self) -> float:
        """Time until everything that waits now is computed; 0 while the speed is unknown."""
        return self.cost / self.speed if self.speed else 0.0

    def submit(self, request: Request) -> None:
        """Queue every row of a request, or none. Raises `Overloaded` at the door."""
        self._admit(request)
        queue = self._queues.get(request.tenant)
        if queue is None:
            received = max(self._received.pop(request.tenant, 0.0), self._floor)
            queue = self._queues[request.tenant] = _Queue(request.tenant, received)
        request.pending = request.queued = len(request.costs)
        request.queued_cost = sum(request.costs)
        for index, cost in enumerate(request.costs):
            lane = queue.lanes.setdefault((request.group, length_class(cost)), deque())
            lane.append((self._arrivals, Row(request, index, cost)))
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
        self.rows += rows
        self.cost += cost

    def next_batch(self) -> list[Row]:
        """The rows to compute now; empty if nothing waits."""
        while self._queues:
            fair = sorted(self._queues.values(), key=lambda queue: queue.received)
            self._floor = fair[0].received
            group, length = fair[0].oldest_lane()
            room = max(1, min(self.limits.batch_rows, self.limits.batch_tokens // length))
            batch: list[Row] = []
            self._fill(batch, fair, group, length, room)
            shorter = LENGTH_CLASSES[max(LENGTH_CLASSES.index(length) - 1, 0)]
            if shorter != length:
                self._fill(batch, fair, group, shorter, min(room, SMALL_BATCH))
            for queue in fair:
                if not queue.lanes:
                    self._leave(queue)
            if batch:
                return batch
        return []

    def _admit(self, request: Request) -> None:
        new, limits = len(request.costs), self.limits
        queue = self._queues.get(request.tenant)
        if queue is not None and queue.rows + new > limits.rows_per_tenant:
            self.refused += 1
            raise Overloaded("Too many of your texts are waiting; send the next ones later.", retry_after=self._hint())
        if self.rows and (self.rows + new > limits.rows or self.expected_wait_s > limits.wait_s):
            self.refused += 1
            raise Overloaded("The engine is busy; try again shortly.", retry_after=self._hint())

    def _hint(self) -> float:
        """Seconds after which half of the queue should be gone."""
        return min(max(self.expected_wait_s / 2, 1.0), 30.0)

    def _fill(self, batch: list[Row], fair: list[_Queue], group: Hashable, length: int, room: int) -> None:
        """Add rows of one lane from all tenants up to `room`, always from the tenant that received least."""
        sources = [(queue, lane) for queue in fair if (lane := queue.lanes.get((group, length)))]
        while sources and len(batch) < room:
            queue, lane = min(sources, key=lambda source: source[0].received)
            row = self._take(queue, lane)
            if row is not None:
                queue.received += row.cost / row.request.weight
                batch.append(row)
            if not lane:
                del queue.lanes[group, length]
                sources.remove((queue, lane))

    def _take(self, queue: _Queue, lane: deque[tuple[int, Row]]) -> Row | None:
        """The first row of a lane, or None if its request was cancelled meanwhile."""
        _, row = lane.popleft()
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


def waiting(scheduler: Scheduler) -> Iterator[tuple[str, int]]:
    """(tenant, rows) of every queue, for reports."""
    for queue in scheduler._queues.values():
        yield queue.tenant, queue.rows
