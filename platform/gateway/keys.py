"""Keys in process: checked once against the database, then a dictionary look-up a call.

A key is verified when first seen. From then on the whole header is recognised by its digest. Every two seconds one
query re-reads all keys in use, so that a revocation holds everywhere within five seconds even when the news of it was
lost; usually the news (`news:keys`) comes first and the key is forgotten at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import connection

from billing.errors import PaymentOverdue
from billing.prices import batch_kind
from billing.selectors.dunning import SILENT
from gateway import database
from gateway.errors import SlowDown
from gateway.limits import Allowance, limits_of
from gateway.metrics import LOOKUPS
from gateway.wire import Headers
from kit import clock
from kit.errors import PermissionDenied, Unauthenticated
from tenants import keys as key_format
from tenants.access import KEY_QUERY, KeyRecord, bearer, check_key, key_record
from tenants.errors import KeyRefused, TenantSuspended
from tenants.passes import Pass, is_pass, pass_open, pass_read
from tenants.services.keys import keys_touch

log = logging.getLogger(__name__)

SCOPE = "inference"
"""What a key must be allowed to call models."""
REFRESH_SECONDS = 2.0
IDLE_SECONDS = 600.0  # a key unused for so long is forgotten
LIMITS_SECONDS = 30.0  # plans are re-read this often, news or not
NOTE_SECONDS = 5.0  # when a key was last used is written this often
UNKNOWN_SECONDS = 2.0  # a key nobody has is not looked up again for so long
MAX_UNKNOWN = 10_000
MAX_COLD = 64
MAX_SPELLINGS = 8  # ways to write one key in a header that are remembered

KEYS_QUERY = KEY_QUERY.replace("FROM door_key(%s)", "FROM unnest(%s::text[]) AS wanted, LATERAL door_key(wanted)")


@dataclass(slots=True, eq=False)
class OpenKey:
    """A key that opened, and what goes with it."""

    lookup: str
    secret_hash: str
    record: KeyRecord
    limits: Allowance
    tenant: str  # hex
    limits_read: float
    used: float
    expires: float
    headers: Headers = field(default_factory=list)  # rate-limit headers of its last admitted call
    passed: bool = False
    """Whether it stands for the pass of a page."""
    keyless: bool = False
    """Whether it stands for a member without a key, who made a batch in the console."""
    batch: bool = False
    """Whether its calls are lines of a batch."""
    kept: bool = False
    """Whether the book keeps it, and re-reads it."""
    looked: float = 0.0
    """When it was looked at again since it is not kept."""

    @property
    def key_id(self) -> UUID | None:
        """The key that a call is metered with."""
        return None if self.keyless else self.record.id

    def kind(self, kind: str) -> str:
        """What a call of `kind` is metered and logged as."""
        return batch_kind(kind) if self.batch else kind

    @property
    def weight(self) -> int:
        """Its share of a busy engine."""
        return self.limits.weight

    @property
    def currency(self) -> str:
        """What its organisation pays in."""
        return self.limits.caller.currency

    def admit(self) -> None:
        """Raises unless the key works at this moment, and its organisation pays."""
        if self.record.revoked_at is not None or self.expires <= time.time():
            raise KeyRefused
        if self.record.tenant_status != "active":
            raise TenantSuspended
        if self.limits.overdue:
            raise PaymentOverdue(SILENT)

    def may_call(self) -> None:
        """Raises PermissionDenied unless it may call models."""
        if SCOPE not in self.record.scopes:
            raise PermissionDenied(f"This key lacks the scope '{SCOPE}'. Ask an admin of the organisation to grant it.")

    def take(self, record: KeyRecord) -> None:
        """What the database says now."""
        self.record = record
        self.expires = record.expires_at.timestamp() if record.expires_at else float("inf")


class KeyBook:
    """All keys this process has seen lately."""

    def __init__(self) -> None:
        self._open: dict[bytes, OpenKey] = {}  # by digest of the Authorization header
        self._digests: dict[str, set[bytes]] = {}  # by look-up part
        self._unknown: dict[str, float] = {}
        self._asking: dict[bytes, asyncio.Task[OpenKey]] = {}  # by digest as well
        self._passing = 0  # passes being looked up
        self._noted = time.monotonic()

    async def open(self, header: bytes | None) -> OpenKey:
        """The key, or the pass of a page, behind an Authorization header. Raises KeyRefused, TenantSuspended or
        SlowDown."""
        if header is not None and is_pass(header):
            return await self._open_pass(header)
        digest = hashlib.sha256(header or b"").digest()
        key = self._open.get(digest)
        if key is None:
            key = await self._look_up(header, digest)
        key.used = time.monotonic()
        key.admit()
        return key

    async def _open_pass(self, header: bytes) -> OpenKey:
        """A pass is good for one run of a page, so nothing of it is kept. One that is forged takes nobody's place.
        Whoever serves the call admits it, so that the request log has its refusal."""
        said = pass_read(header)
        if self._passing >= MAX_COLD:
            raise SlowDown("Too many new keys at once. Try again in a moment.", 1.0)
        self._passing += 1
        try:
            return await database.ask(lambda: _opened(pass_open(said)))
        finally:
            self._passing -= 1
            LOOKUPS.labels("pass").inc()

    async def standing(self, key: OpenKey) -> None:
        """Whether a key that opened still does, for a call that takes long; what is kept of it tells, or the database
        where it changed. Batches look after their lines themselves. Raises KeyRefused, TenantSuspended or
        PermissionDenied."""
        if key.batch:
            return
        now = time.monotonic()
        if not key.kept and now - key.looked > REFRESH_SECONDS:
            key.looked = now
            try:
                key.take(await database.ask(partial(_record_now, key)))
            except Unauthenticated:
                raise
            except Exception:  # the database is away; nobody can have revoked a key there meanwhile
                log.warning("a key could not be re-read", exc_info=True)
                return
        key.admit()
        key.may_call()

    def forget(self, lookup: str) -> None:
        """News: this key changed."""
        self._unknown.pop(lookup, None)
        for digest in self._digests.pop(lookup, ()):
            if (key := self._open.pop(digest, None)) is not None:
                key.kept = False

    def forget_all(self) -> None:
        """News may have been missed."""
        for key in self._open.values():
            key.kept = False
        self._open.clear()
        self._digests.clear()
        self._unknown.clear()

    def forget_limits(self, tenant_id: str) -> None:
        """News: a tenant's plan or overrides changed."""
        for key in self._open.values():
            if str(key.record.tenant_id) == tenant_id:
                key.limits_read = 0.0

    async def refresh_for_ever(self) -> None:
        """Re-read keys in use, every two seconds."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._refresh()
            except Exception:  # the database is away; nobody can have revoked a key there meanwhile
                log.warning("keys could not be re-read", exc_info=True)

    async def _note_use(self) -> None:
        """Tell the database, now and then, when keys were last used."""
        since, self._noted = self._noted, time.monotonic()
        used = {key.record.id for key in self._open.values() if key.used >= since and key.record.id is not None}
        if used:
            await database.ask(lambda: keys_touch(ids=used, at=clock.now()))

    async def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._noted > NOTE_SECONDS:
            await self._note_use()
        for key in [key for key in self._open.values() if now - key.used > IDLE_SECONDS]:
            self.forget(key.lookup)
        for lookup in [lookup for lookup, until in self._unknown.items() if until < now]:
            del self._unknown[lookup]
        keys = list(self._open.values())
        if not keys:
            return
        records = await database.ask(lambda: read_keys(sorted({key.lookup for key in keys})))
        for key in keys:
            record = records.get(_id(key.record))
            if record is None or record.secret_hash != key.secret_hash:
                self.forget(key.lookup)
                continue
            stale = record.limits != key.record.limits or now - key.limits_read > LIMITS_SECONDS
            key.take(record)
            if stale:
                await _reread(key, now)

    async def _look_up(self, header: bytes | None, digest: bytes) -> OpenKey:
        """Ask the database; callers with one key at the same time share the question."""
        task = self._asking.get(digest)
        if task is None:
            parts = bearer(header.decode("latin-1") if header else None)
            if self._unknown.get(parts.lookup, 0.0) > time.monotonic():
                raise KeyRefused
            if len(self._asking) >= MAX_COLD:
                raise SlowDown("Too many new keys at once. Try again in a moment.", 1.0)
            task = self._asking[digest] = asyncio.create_task(self._look_up_now(parts, digest))
            task.add_done_callback(partial(self._answered, digest))
        return await asyncio.shield(task)

    def _answered(self, digest: bytes, task: asyncio.Task[OpenKey]) -> None:
        del self._asking[digest]
        if not task.cancelled():
            task.exception()  # everybody who asked may have left

    async def _look_up_now(self, parts: key_format.KeyParts, digest: bytes) -> OpenKey:
        now = time.monotonic()
        try:
            key = await database.ask(lambda: _verified(parts))
        except Unauthenticated:
            if len(self._unknown) < MAX_UNKNOWN:
                self._unknown[parts.lookup] = now + UNKNOWN_SECONDS
            raise
        finally:
            LOOKUPS.labels("key").inc()
        digests = self._digests.setdefault(key.lookup, set())
        if len(digests) < MAX_SPELLINGS:
            digests.add(digest)
            self._open[digest] = key
            key.kept = True
        return key


async def _reread(key: OpenKey, now: float) -> None:
    """A key's limits as they are now. Marked as read before they are: news of a change meanwhile is not lost."""
    key.limits_read = now
    try:
        key.limits = await database.ask(partial(limits_of, key.record))
    except Exception:
        key.limits_read = 0.0
        raise


def read_keys(lookups: list[str]) -> dict[str, KeyRecord]:
    """Records of many keys in one query, by id in hex."""
    with connection.cursor() as cursor:
        cursor.execute(KEYS_QUERY, [lookups])
        return {_id(record): record for record in map(key_record, cursor.fetchall())}


def _record_now(key: OpenKey) -> KeyRecord:
    """On a thread: what a key or a pass opens now. KeyRefused for a key that is gone, and as `pass_open`."""
    was = key.record
    if was.member_id is not None:
        return pass_open(Pass(was.tenant_id, was.project_id, was.member_id))
    found = read_keys([key.lookup]).get(_id(was))
    if found is None or found.secret_hash != key.secret_hash:
        raise KeyRefused
    return found


def _id(record: KeyRecord) -> str:
    return record.id.hex if record.id is not None else ""


def _verified(parts: key_format.KeyParts) -> OpenKey:
    """On a thread: the key's row, its secret checked, and its limits."""
    with connection.cursor() as cursor:
        cursor.execute(KEY_QUERY, [parts.lookup])
        row = cursor.fetchone()
    record = check_key(key_record(row) if row else None, parts)
    return _opened(record, parts.lookup, key_format.secret_hash(parts.secret, settings.API_KEY_PEPPER))


def _opened(record: KeyRecord, lookup: str = "", secret_hash: str = "") -> OpenKey:
    """On a thread: a record with its limits."""
    key = OpenKey(
        lookup=lookup,
        secret_hash=secret_hash,
        record=record,
        limits=limits_of(record),
        tenant=record.tenant_id.hex,
        limits_read=time.monotonic(),
        used=time.monotonic(),
        expires=0.0,
        passed=record.member_id is not None,
    )
    key.take(record)
    return key
