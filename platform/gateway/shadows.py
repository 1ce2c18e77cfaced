"""Shadow calls: a rollout's candidate is asked what the stable version was asked, behind the answer, and compared.

Nobody waits for one, nobody sees its answer, and nobody pays for it: it is in the request log with the arm `shadow` and
no cost, and in no usage. It is computed while nothing else can be. What cannot be asked at once is dropped, not queued,
and so is what no engine took up or ended in time, or what the stable version answered with something that cannot be
compared: that says nothing of the candidate.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from gateway import database
from gateway.agreement import Comparable, Unaskable
from gateway.keys import OpenKey
from inference.announcement import SHARED
from inference.background import BACKGROUND
from inference.client import EngineClient
from inference.errors import EngineError, NotResident, Unavailable
from kit.ids import new_id
from serving.requests import RequestNote, wall_ms
from serving.routes import Route
from serving.shadows import ShadowTally, shadows_count
from serving.splits import SHADOW, Split

if TYPE_CHECKING:
    from gateway.process import Process

log = logging.getLogger(__name__)

MOST = 16
"""Shadow calls of a process at a time."""
MOST_OF_ONE = 2
"""Of one tenant."""
PATIENCE_SECONDS = 120.0
"""For one, from the first look for an engine to its end."""
BEHIND_SECONDS = 0.005
"""The answer leaves first."""
COUNT_SECONDS = 1.0


class Shadows:
    """The shadow calls of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._running: dict[asyncio.Task[None], str] = {}
        self._tallies: dict[tuple[UUID, UUID], ShadowTally] = {}

    def offer(self, split: Split, key: OpenKey, kind: str, route: Route, asked: Comparable, said: Any) -> None:
        """Ask the candidate too, once the answer is on its way; or drop it."""
        tenants, want = list(self._running.values()), split.candidate.want(key.tenant)
        asleep = want.pool != SHARED and not self._process.fleet.present(want)  # nobody wakes engines for a shadow
        if asleep or len(tenants) >= MOST or tenants.count(key.tenant) >= MOST_OF_ONE:
            self.drop(split, key)
            return
        note = RequestNote(
            id=new_id(), tenant_id=key.record.tenant_id, project_id=key.record.project_id, key_id=key.key_id,
            at_ms=wall_ms(), kind=kind, model=split.alias, version_id=UUID(hex=split.candidate.version), arm=SHADOW,
            items=asked.items,
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(self._ask(split, key, route, asked, said, note))
        self._running[task] = key.tenant
        task.add_done_callback(lambda ended: self._running.pop(ended, None))

    def drop(self, split: Split, key: OpenKey) -> None:
        """Count a call that is not compared."""
        self._tally(key, split).dropped += 1

    async def count_for_ever(self) -> None:
        """Add up in the database, where every gateway's counts come together."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            await self._count()

    async def close(self) -> None:
        """Drop what runs, count what was compared."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._count()

    async def _ask(
        self, split: Split, key: OpenKey, stable: Route, asked: Comparable, said: Any, note: RequestNote
    ) -> None:
        route = split.candidate
        await asyncio.sleep(BEHIND_SECONDS)
        wanted = []
        try:
            for mine in asked.read(stable, said):
                wanted.append(mine)
                await asyncio.sleep(0)
        except Exception as error:  # the candidate is not asked what nothing could be compared with
            log.info("the stable version's answer cannot be compared: %s", error)
            self.drop(split, key)
            return
        started = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await self._answer(route, key, asked)
            tally = ShadowTally()
            for mine, theirs in zip(wanted, asked.read(route, found), strict=True):
                asked.compare(tally, mine, theirs)
                await asyncio.sleep(0)
            self._tally(key, split).join(tally)  # at once: what was counted in the meantime is another object
        except (Unaskable, TimeoutError):
            self.drop(split, key)
            return
        except EngineError as error:
            if error.untouched or isinstance(error, Unavailable):  # no fault of the candidate's
                self.drop(split, key)
                return
            log.info("a shadow call failed: %s", error)
            note.status, note.code = 500, "shadow_failed"
        except Exception:
            log.exception("a shadow call broke")
            note.status, note.code = 500, "shadow_failed"
        else:
            asked.note(note, found)
        note.duration_ms = round((time.perf_counter() - started) * 1000)
        self._process.log.note(note)

    async def _answer(self, route: Route, key: OpenKey, asked: Comparable) -> Any:
        async def ask(engine: EngineClient) -> Any:
            tenant, model = key.tenant, route.version
            try:
                return await asked.ask(engine, tenant=tenant, model=model, weight=BACKGROUND)
            except NotResident:
                source = await asyncio.to_thread(route.place.source)
                await engine.load(tenant=tenant, model=model, sha256=route.sha256, pin=route.pinned, **source)
                return await asked.ask(engine, tenant=tenant, model=model, weight=BACKGROUND)

        return await self._process.fleet.ask(route.want(key.tenant), ask)

    def _tally(self, key: OpenKey, split: Split) -> ShadowTally:
        return self._tallies.setdefault((key.record.tenant_id, split.rollout), ShadowTally())

    async def _count(self) -> None:
        tallies, self._tallies = self._tallies, {}
        if not tallies:
            return
        try:
            await database.ask(lambda: shadows_count(tallies))
        except Exception:  # they are figures, not money: a database that is away costs a second of them
            log.warning("shadow calls could not be counted", exc_info=True)
