"""The gateway's quota gate with everything behind it, made from the settings.

    opened = open_gate()          # in the event loop, once per process
    ticket = await opened.gate.admit(...)
    await opened.close()          # ships what is left

Behind it: the usage file and its shipper thread, which writes down why calls were refused as well, a keeper thread that
fetches lease blocks when the gate asks, and one that tells a quota server which lost what it knew the calls that run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import queue
import threading
import time
import uuid
from typing import Any

import psycopg.conninfo
from django.conf import settings
from django.db import close_old_connections, connections

from billing.metering import PostgresSink, Shipper, SpoolWriter
from billing.prices import price_books
from billing.quotas import Limit, QuotaGate, QuotaStore
from billing.quotas.recount import Recount
from billing.quotas.trace import TraceBuffer
from billing.services.decisions import decisions_flush
from billing.services.leases import EVERYTHING, lease_refill, lease_return
from billing.services.stores import store_begin
from kit.metrics import Gauge

logger = logging.getLogger(__name__)

EXHAUSTED_SECONDS = 1.0
"""How long an empty budget is not asked for again: refused calls must not become database queries."""
CLOSE_SECONDS = 5.0

CAUGHT_UP = Gauge(
    "billing_usage_shipped_until",
    "Unix time up to which this process's usage events are in PostgreSQL",
    multiprocess_mode="livemin",
)


def sink_dsn() -> str:
    """Connection string of the app role, for the shipper's own connection, with the house's patience: a host that is
    gone without a word is given up in seconds."""
    wanted = ("host", "port", "user", "password", "dbname", "connect_timeout", "tcp_user_timeout")
    values: dict[str, Any] = connections["default"].get_connection_params()
    return psycopg.conninfo.make_conninfo(**{name: values[name] for name in wanted if values.get(name)})


@dataclasses.dataclass(slots=True)
class _Want:
    """What waits for one budget: everybody's need together."""

    limit: Limit
    nano: int
    future: asyncio.Future[bool]


class LeaseKeeper:
    """A thread that refills leases on demand. `want` may be called from an event loop: it never blocks."""

    def __init__(self, store: QuotaStore) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._wants: dict[tuple[str, str], _Want] = {}
        self._empty_until: dict[tuple[str, str], float] = {}
        self._refilled: set[tuple[str, str]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
        self._thread.start()

    def want(self, tenant: str, limit: Limit, nano: int) -> asyncio.Future[bool] | None:
        """Ask for a block that can carry `nano`; the future tells whether one came. None: known to be empty."""
        self._loop = asyncio.get_running_loop()
        name = (tenant, limit.name)
        if self._empty_until.get(name, 0.0) > time.monotonic():
            return None
        with self._lock:
            want = self._wants.get(name)
            if want is not None:
                want.nano += nano
                return want.future
            want = self._wants[name] = _Want(limit, nano, self._loop.create_future())
        self._queue.put(name)
        return want.future

    def close(self) -> None:
        """End the thread after what it is doing, and give unspent money back: another gateway will ask for its own."""
        self._queue.put(None)
        self._thread.join(timeout=CLOSE_SECONDS)

    def _run(self) -> None:
        self._begin()
        while True:
            name = self._queue.get()
            if name is None:
                self._give_back()
                self._store.close()
                connections.close_all()
                return
            with self._lock:  # from here on, a new want is a new refill
                want = self._wants.pop(name)
            done = self._refill(name[0], want)
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._resolve, name, want, done)

    def _begin(self) -> None:
        try:
            store_begin(self._store)
        except Exception:  # then rates refill from empty: too little is admitted for a minute
            logger.warning("could not see whether this installation is new", exc_info=True)

    def _give_back(self) -> None:
        until = time.monotonic() + CLOSE_SECONDS / 2
        for tenant, name in self._refilled:
            if time.monotonic() > until:
                return
            try:
                lease_return(store=self._store, tenant_id=uuid.UUID(hex=tenant), name=name, at_most=EVERYTHING)
            except Exception:  # the rest stays promised until it is reconciled
                logger.info("leases stay as they are: the quota server or the database has gone first")
                return

    def _refill(self, tenant: str, want: _Want) -> bool:
        close_old_connections()
        self._refilled.add((tenant, want.limit.name))
        try:
            return lease_refill(
                store=self._store,
                tenant_id=uuid.UUID(hex=tenant),
                scope=want.limit.scope,
                scope_id=want.limit.scope_id,
                name=want.limit.name,
                wanted=want.nano,
            )
        except Exception:  # the thread outlives a database or quota server that is away; calls stay closed meanwhile
            logger.warning("could not refill %s of tenant %s", want.limit.name, tenant, exc_info=True)
            return False

    def _resolve(self, name: tuple[str, str], want: _Want, done: bool) -> None:
        if not done:
            if len(self._empty_until) > 10_000:
                self._empty_until.clear()
            self._empty_until[name] = time.monotonic() + EXHAUSTED_SECONDS
        if not want.future.done():
            want.future.set_result(done)


@dataclasses.dataclass
class OpenGate:
    """A gate and what works behind it."""

    gate: QuotaGate
    shipper: Shipper
    keeper: LeaseKeeper
    recount: Recount
    spool: SpoolWriter
    refused: TraceBuffer

    async def close(self) -> None:
        """Settle what is queued, ship what is written, let go."""
        await asyncio.sleep(0)
        self.gate.close()
        await asyncio.to_thread(self.shipper.stop)
        await asyncio.to_thread(decisions_flush, self.refused, everything=True)
        await asyncio.to_thread(self.recount.close)
        await asyncio.to_thread(self.keeper.close)
        self.spool.close()


def open_gate() -> OpenGate:
    """A gate for this process's running event loop."""
    spool = SpoolWriter(settings.USAGE_WAL_DIR)
    refused = TraceBuffer()

    def shipped(until_ms: int) -> None:
        CAUGHT_UP.set(until_ms / 1000)
        decisions_flush(refused)

    shipper = Shipper(settings.USAGE_WAL_DIR, PostgresSink(sink_dsn()), writer=spool, on_pass=shipped)
    keeper = LeaseKeeper(QuotaStore(settings.REDIS_URL))
    gate = QuotaGate(
        settings.REDIS_URL, spool=spool, prices=price_books(), on_lease_wanted=keeper.want, on_refused=refused.note
    )
    recount = Recount(QuotaStore(settings.REDIS_URL), gate.store.running).start()
    shipper.start()
    return OpenGate(gate, shipper, keeper, recount, spool, refused)
