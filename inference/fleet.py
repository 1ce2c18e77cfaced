"""Many engines as one: which of them is asked, and when another is asked instead.

A caller says what it wants (`Want`) and gives a function of a client; the fleet picks the engine:

1. of the wanted pool, with the base, not leaving, not set aside;
2. that has the model in memory, the one with less to do of two taken at random. A model that keeps all of its holders
   busy spreads to one more;
3. nobody has it: its home, which every gateway computes alike from the names, unless that one is much busier.

What failed is asked of one other engine where nothing was computed for sure (`EngineError.untouched`), and never
otherwise: work is not done twice. An engine that cannot be reached, fails again and again, or says nothing while calls
wait is set aside and asked for its health until it answers. With a single engine none of this is looked at.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from inference.address import Address
from inference.announcement import SHARED, Heartbeat, digest
from inference.client import EngineClient
from inference.errors import (
    Draining,
    EngineError,
    Internal,
    Late,
    NotReady,
    NotResident,
    Overloaded,
    Unauthorised,
    Unavailable,
    Unreachable,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

SPREAD_AT = 16
"""A model spreads when its least busy holder has so much to do, and another engine less than half."""
FAILURES = 3
"""Calls in a row that an engine may fail before it is set aside."""
STALL_S = 2.0
"""An engine that says nothing for so long while calls wait is asked whether it is there."""
PROBE_S = 2.0
WORKS_S = 10.0
"""An engine that computed something within so long is at work: a call that takes longer than we wait is large."""
ASIDE_S, ASIDE_MOST_S = 0.5, 15.0
LOOK_S = 0.25
TELL_S = 30.0
"""How often it is logged that an engine refuses the token."""

Event = Callable[[str], None]
"""Hears of: retried, spread, ejected, readmitted, refused."""


@dataclass(frozen=True, slots=True)
class Want:
    """What a call needs: a base, or a tenant's model on it. `pool`: of the engines of which it may be asked."""

    base: str = ""
    tenant: str = ""
    model: str = ""
    pool: str = SHARED


@dataclass(slots=True, eq=False)
class Replica:
    """One engine as this process sees it."""

    address: str
    client: EngineClient
    beat: Heartbeat | None = None
    """What it said last; None for one that does not announce itself."""
    silent: bool = False
    """It announced itself and no longer does. It is used while its connection holds."""
    holds: set[str] = field(default_factory=set)
    failures: int = 0
    aside_until: float = 0.0
    """When it is asked for its health next; 0 for one that is in use."""
    aside_s: float = ASIDE_S
    heard: tuple[int, float] = (0, 0.0)
    batches: int = 0
    """That it had computed when it was last asked for its health."""
    worked: float = 0.0
    """When it was last seen to get on."""
    probing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What homes are computed from: the same in every process."""
        return self.beat.name if self.beat is not None else self.address

    @property
    def pool(self) -> str:
        """Whom it serves."""
        return self.beat.pool if self.beat is not None else SHARED

    @property
    def load(self) -> int:
        """Our calls under way, and what it said it had to do in all; the greater, for its own word is a second old."""
        ours = self.client.in_flight
        return ours if self.beat is None else max(ours, self.beat.load)

    def fits(self, want: Want) -> bool:
        """Whether it may be asked at all."""
        beat = self.beat
        if beat is None:
            return want.pool == SHARED
        return beat.pool == want.pool and not beat.draining and (not want.base or want.base in beat.bases)


class Fleet:
    """The engines that this process knows. `static` is asked as long as no engine of the shared pool has announced
    itself. Make and use it on one event loop; `watch` runs as long as it serves."""

    def __init__(
        self, static: str, token: str, *, on_event: Event = lambda _: None,
        connect: Callable[[str, str], EngineClient] = EngineClient,
    ) -> None:  # fmt: skip
        self._token, self._connect, self._on_event = token, connect, on_event
        self._static = Replica(_plain(static), connect(static, token)) if static else None
        self.replicas: dict[str, Replica] = {}
        self._single: Replica | None = None
        self._ready: dict[tuple[str, str], list[Replica]] = {}
        """Who may be asked, by pool and base, until something changes."""
        self._told = 0.0
        self._changed = asyncio.Event()
        self._settle()

    async def close(self) -> None:
        """Close all connections."""
        for replica in self.replicas.values():
            if replica.probing is not None:
                replica.probing.cancel()
            await replica.client.close()
        if self._static is not None:
            await self._static.client.close()

    # -- asking ----------------------------------------------------------------------------------------------------

    async def ask(self, want: Want, call: Callable[[EngineClient], Awaitable[T]]) -> T:
        """What `call` makes of the engine picked for it. Raises as `call` does; `Unavailable` where no engine is."""
        replica = self._single
        if replica is not None and want.pool == SHARED:
            try:
                return await call(replica.client)
            except Unauthorised:
                self._refused(replica)
                raise
        replica = self._pick(want, None)
        try:
            return await self._ask(replica, want, call)
        except EngineError as error:
            if not error.untouched or isinstance(error, NotResident):
                raise
            other = self._other(want, replica, error)
            if other is None:
                raise
            self._on_event("retried")
        return await self._ask(other, want, call)

    async def _ask(self, replica: Replica, want: Want, call: Callable[[EngineClient], Awaitable[T]]) -> T:
        try:
            result = await call(replica.client)
        except EngineError as error:
            self._note(replica, error)
            raise
        replica.failures = 0
        if want.model:
            replica.holds.add(digest(want.tenant, want.model))
        return result

    def present(self, want: Want) -> bool:
        """Whether there is an engine to ask that was not set aside."""
        return any(replica.fits(want) and not replica.aside_until for replica in self.replicas.values())

    async def until_present(self, want: Want, seconds: float) -> bool:
        """Wait for an engine of the wanted pool; False when none came within so many seconds."""
        deadline = time.monotonic() + seconds
        while not self.present(want):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return False
        return True

    # -- picking ---------------------------------------------------------------------------------------------------

    def _pick(self, want: Want, without: Replica | None) -> Replica:
        alive = self._ready.get((want.pool, want.base)) if without is None else None
        if alive is None:
            alive = self._alive(want, without)
            if without is None:
                self._ready[want.pool, want.base] = alive
        if len(alive) == 1 or not want.model:
            return _less_busy(alive)
        name = digest(want.tenant, want.model)
        holders = [one for one in alive if name in one.holds]
        if not holders:
            return _home(alive, name)
        chosen = _less_busy(holders)
        if chosen.load >= SPREAD_AT and len(holders) < len(alive):
            newcomer = _less_busy([one for one in alive if name not in one.holds])
            if 2 * newcomer.load < min(one.load for one in holders):
                self._on_event("spread")
                return newcomer
        return chosen

    def _alive(self, want: Want, without: Replica | None) -> list[Replica]:
        fitting = [one for one in self.replicas.values() if one is not without and one.fits(want)]
        if not fitting:
            raise Unreachable(f"No engine {_that(want)} is there.", retry_after=2.0)
        well = [one for one in fitting if not one.aside_until]
        return [one for one in well if not one.silent] or well or fitting  # better a doubtful one than none

    def _other(self, want: Want, failed: Replica, error: EngineError) -> Replica | None:
        """Who is asked instead: a doubtful one rather than nobody. After `Overloaded` only one that is well and has
        less to do."""
        try:
            other = self._pick(want, failed)
        except Unreachable:
            return None
        if isinstance(error, Overloaded) and (other.aside_until or other.load >= failed.load):
            return None
        return other

    # -- who is there ----------------------------------------------------------------------------------------------

    def heard(self, beats: Iterable[Heartbeat]) -> None:
        """Take in who announces itself now. Not called while that cannot be known: the last known engines go on."""
        now: dict[str, Heartbeat] = {}
        for beat in sorted(beats, key=lambda beat: beat.at):
            now[_plain(beat.address)] = beat  # of two processes at one address the later one
        for address, beat in now.items():
            replica = self.replicas.get(address)
            if replica is None or replica is self._static:
                replica = self.replicas[address] = self._known(address)
            if replica.beat is not None and replica.beat.name != beat.name and replica.aside_until:
                replica.aside_until = time.monotonic()  # another process at the same address: look at once
            if replica.beat is None or replica.beat.residents != beat.residents:
                replica.holds = set(beat.residents)
            replica.beat, replica.silent = beat, False
        for address, replica in list(self.replicas.items()):
            if address in now or replica.beat is None:
                continue
            replica.silent = True
            if not replica.client.connected and not replica.client.in_flight:
                self._forget(replica)
        self._settle()

    def _known(self, address: str) -> Replica:
        if self._static is not None and address == self._static.address:
            return self._static
        return Replica(address, self._connect(address, self._token))

    def _forget(self, replica: Replica) -> None:
        del self.replicas[replica.address]
        if replica is self._static:
            replica.beat, replica.silent, replica.aside_until = None, False, 0.0
        if replica.probing is not None:
            replica.probing.cancel()

    def _settle(self) -> None:
        """The static engine steps in where nobody serves everybody, and out where somebody does."""
        static = self._static
        if static is not None:
            announced = any(one.pool == SHARED and one.beat is not None for one in self.replicas.values())
            if not announced:
                self.replicas.setdefault(static.address, static)
            elif self.replicas.get(static.address) is static and static.beat is None:
                del self.replicas[static.address]
        shared = [one for one in self.replicas.values() if one.pool == SHARED]
        self._single = shared[0] if len(shared) == 1 else None
        self._ready.clear()
        self._changed.set()

    # -- who is well -----------------------------------------------------------------------------------------------

    def _note(self, replica: Replica, error: EngineError) -> None:
        """Learn from a failure."""
        if isinstance(error, NotResident):
            return
        if isinstance(error, Unauthorised):
            self._refused(replica)
        if isinstance(error, (Unreachable, Draining, Unauthorised)):
            self._set_aside(replica)
        elif isinstance(error, Late) and time.monotonic() - replica.worked < WORKS_S:
            return
        elif isinstance(error, (Unavailable, Internal)) and not isinstance(error, NotReady):
            replica.failures += 1
            if replica.failures >= FAILURES:
                self._set_aside(replica)

    def _refused(self, replica: Replica) -> None:
        self._on_event("refused")
        if time.monotonic() - self._told > TELL_S:
            self._told = time.monotonic()
            log.error("the engine at %s refuses our token: give both sides the same ENGINE_TOKEN", replica.address)

    def _set_aside(self, replica: Replica, *, again: bool = False) -> None:
        if replica.aside_until and not again:
            return
        if not replica.aside_until:
            self._on_event("ejected")
            log.warning("the engine at %s is set aside", replica.address)
        self._ready.clear()
        replica.aside_until = time.monotonic() + replica.aside_s
        replica.aside_s = min(2 * replica.aside_s, ASIDE_MOST_S)

    async def watch(self) -> None:
        """Ask who was set aside, or says nothing while calls wait, whether it is there; for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for replica in list(self.replicas.values()):
                if replica.probing is None and self._doubtful(replica, now):
                    replica.probing = asyncio.create_task(self._probe(replica))

    def _doubtful(self, replica: Replica, now: float) -> bool:
        client = replica.client
        if replica.aside_until:
            return now >= replica.aside_until
        if not client.in_flight or client.heard != replica.heard[0]:
            if client.in_flight:
                replica.worked = now
            replica.heard = client.heard, now
            return False
        return now - replica.heard[1] >= STALL_S

    async def _probe(self, replica: Replica) -> None:
        try:
            report = await replica.client.health(timeout=PROBE_S)
        except EngineError as error:
            if isinstance(error, Unauthorised):
                self._refused(replica)
            self._set_aside(replica, again=True)
        else:
            now = time.monotonic()
            if report.batches != replica.batches:
                replica.batches, replica.worked = report.batches, now
            replica.heard = replica.client.heard, now  # its being there is no sign of getting on
            replica.failures = 0
            if replica.aside_until:
                replica.aside_until, replica.aside_s = 0.0, ASIDE_S
                self._ready.clear()
                self._changed.set()
                self._on_event("readmitted")
                log.info("the engine at %s answers again", replica.address)
        finally:
            replica.probing = None


def home(names: Iterable[str], model: str) -> list[str]:
    """Engines in the order in which a model belongs to them: the same in every process, and for most models the same
    when an engine comes or goes."""
    return sorted(names, key=lambda name: hashlib.blake2b(f"{model}@{name}".encode(), digest_size=8).digest())


def _home(replicas: list[Replica], model: str) -> Replica:
    by_name = {one.name: one for one in replicas}
    first, second, *_ = (by_name[name] for name in home(by_name, model))
    return second if first.load >= SPREAD_AT and 2 * second.load < first.load else first


def _less_busy(replicas: list[Replica]) -> Replica:
    """The one with less to do of two at random: the least busy of all would be everybody's choice at once."""
    if len(replicas) == 1:
        return replicas[0]
    index = int(random.random() * len(replicas))
    one, other = replicas[index], replicas[index - 1 - int(random.random() * (len(replicas) - 1))]
    return one if one.load <= other.load else other


def _plain(address: str) -> str:
    """One spelling of an address."""
    return str(Address.parse(address))


def _that(want: Want) -> str:
    return f"with the base {want.base!r}" if want.pool == SHARED else "of this deployment's own"
