"""How many texts the server has at a time, and whose is next.

The server takes requests in the order they come, so no more are sent than it works on at once. Who waits here is let in
by what each tenant has received for its weight, as in `generation.turns`: tokens read, and twice the tokens written. A
text gives its place back after each segment, so that long texts of one tenant never keep all places. What may wait
(`inference.background`) gets a place while nobody else wants it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

from inference.errors import Overloaded
from inference.generation.turns import WRITTEN, Limits

MOST_REMEMBERED = 4096  # tenants whose share is remembered though they are not here


@dataclass(slots=True, eq=False)
class _Waiter:
    ready: asyncio.Future[None]


class Places:
    """Used on the event loop alone."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.refused = 0
        self.running = 0
        self._running: Counter[str] = Counter()
        self._queues: dict[str, deque[_Waiter]] = {}
        self._new: Counter[str] = Counter()  # texts that were let in at the door and have not begun
        self._received: dict[str, float] = {}
        self._background: set[str] = set()  # lines that may wait

    @property
    def waiting(self) -> int:
        """Texts that have not begun."""
        return self._new.total()

    def admit(self, tenant: str, count: int, *, background: bool = False) -> None:
        """Let in so many new texts, or none. Raises `Overloaded` at the door."""
        mine, limits = self._new[tenant], self.limits
        if mine and mine + count > limits.waiting_per_tenant:
            self.refused += 1
            raise Overloaded("Too many of your requests are waiting; send the next ones later.", retry_after=2.0)
        if self.waiting and self.waiting + count > limits.waiting:
            self.refused += 1
            raise Overloaded("The engine is busy; try again shortly.", retry_after=2.0)
        if not self._here(tenant):
            present = [self._received[t] for t in {*self._queues, *+self._running} if t in self._received]
            self._received[tenant] = max(self._received.get(tenant, 0.0), min(present, default=0.0))
        self._new[tenant] += count
        if background:
            self._background.add(tenant)

    def began(self, tenant: str) -> None:
        """A new text has got its first place, or has left without one."""
        self._new[tenant] -= 1
        self._forget(tenant)

    async def take(self, tenant: str) -> None:
        """Wait for a place. Give it back with `give`."""
        queue = self._queues.setdefault(tenant, deque())
        waiter = _Waiter(asyncio.get_running_loop().create_future())
        queue.append(waiter)
        self._let_in()
        try:
            await waiter.ready
        except asyncio.CancelledError:
            if waiter.ready.done() and not waiter.ready.cancelled():
                self.give(tenant)
            elif waiter in queue:
                queue.remove(waiter)
                self._forget(tenant)
            raise

    def give(self, tenant: str) -> None:
        """A place is free."""
        self.running -= 1
        self._running[tenant] -= 1
        self._let_in()
        self._forget(tenant)

    def received(self, tenant: str, *, read: int, written: int, weight: int) -> None:
        """What a tenant was given."""
        self._received[tenant] = self._received.get(tenant, 0.0) + (read + WRITTEN * written) / weight

    def _let_in(self) -> None:
        while self.running < self.limits.rows:
            waiting = [tenant for tenant, queue in self._queues.items() if queue]
            if not waiting:
                return
            # Beside what was received, what runs: a segment counts when it ends, and many may begin before one does.
            tenant = min(waiting, key=self._turn)
            waiter = self._queues[tenant].popleft()
            if waiter.ready.done():
                continue
            self.running += 1
            self._running[tenant] += 1
            waiter.ready.set_result(None)

    def _turn(self, tenant: str) -> tuple[bool, float, int]:
        return tenant in self._background, self._received.get(tenant, 0.0), self._running[tenant]

    def _here(self, tenant: str) -> bool:
        return bool(self._new[tenant] or self._running[tenant] or self._queues.get(tenant))

    def _forget(self, tenant: str) -> None:
        """What is empty goes, and in time what absent tenants received."""
        if not self._here(tenant):
            self._queues.pop(tenant, None)
            self._new.pop(tenant, None)
            self._running.pop(tenant, None)
            self._background.discard(tenant)
            if len(self._received) > MOST_REMEMBERED:
                self._received = {one: value for one, value in self._received.items() if self._here(one)}
