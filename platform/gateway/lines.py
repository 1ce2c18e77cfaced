"""Lines of batches at the door: a credential of our own in place of an API key, with what that key may do now.

What was read of a key is kept for two seconds, so that a revocation stops a batch as fast as any other caller, and
fifty thousand lines are not fifty thousand queries. What is kept is used by batches alone: their limits are others.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from batches.credential import NOBODY, PREFIX, Caller
from batches.credential import read as read_credential
from gateway import database
from gateway.keys import OpenKey
from gateway.limits import limits_of_batch
from kit.clock import now
from tenants.access import PERMISSIONS, KeyRecord
from tenants.errors import KeyRefused, TenantSuspended
from tenants.models import ApiKey, Member, Project, Tenant
from tenants.scope import tenant_scope

KEEP_SECONDS = 2.0
MOST = 1_000
"""Callers that are kept; beyond them all are read again."""
SCHEME = b"Bearer " + PREFIX.encode()
SCOPES = frozenset({"inference"})
"""Of a batch without a key: whoever made it was allowed to, and it does nothing else."""


def is_line(header: bytes | None) -> bool:
    """Whether an Authorization header claims to be of a batch's line."""
    return header is not None and header.startswith(SCHEME)


@dataclass(slots=True)
class LineBook:
    """The batches that asked lately."""

    _open: dict[Caller, OpenKey] = field(default_factory=dict)
    _asking: dict[Caller, asyncio.Task[OpenKey]] = field(default_factory=dict)

    async def open(self, header: bytes) -> tuple[OpenKey, UUID]:
        """Who asks, and what the line's request id stands for. Raises KeyRefused or TenantSuspended."""
        asking = read_credential(header[len(b"Bearer ") :].decode("latin-1"))
        if asking is None:
            raise KeyRefused
        key = self._open.get(asking.caller)
        if key is None or time.monotonic() - key.limits_read > KEEP_SECONDS:
            key = await self._look_up(asking.caller)
        key.admit()
        return key, asking.identity

    async def _look_up(self, caller: Caller) -> OpenKey:
        """Ask the database; lines of one batch at the same time share the question."""
        task = self._asking.get(caller)
        if task is None:
            task = self._asking[caller] = asyncio.create_task(self._look_up_now(caller))
            task.add_done_callback(partial(self._answered, caller))
        return await asyncio.shield(task)

    def _answered(self, caller: Caller, task: asyncio.Task[OpenKey]) -> None:
        del self._asking[caller]
        if not task.cancelled():
            task.exception()  # everybody who asked may have left

    async def _look_up_now(self, caller: Caller) -> OpenKey:
        key = await database.ask(lambda: _opened(caller))
        if len(self._open) >= MOST:
            self._open.clear()
        self._open[caller] = key
        return key


def _opened(caller: Caller) -> OpenKey:
    """On a thread: the standing of key and organisation now, and their spend limits."""
    started = time.monotonic()
    with tenant_scope(caller.tenant_id):
        tenant = Tenant.objects.filter(pk=caller.tenant_id).first()
        if tenant is None or tenant.status != Tenant.Status.ACTIVE:
            raise TenantSuspended
        if not Project.objects.filter(pk=caller.project_id, archived_at=None).exists():
            raise KeyRefused("The batch's project is archived.")
        record = _record(caller, tenant)
        limits = limits_of_batch(caller)
    key = OpenKey(
        lookup="", secret_hash="", record=record, limits=limits, tenant=caller.tenant_id.hex, limits_read=started,
        used=started, expires=0.0, keyless=caller.key_id is None, batch=True,
    )  # fmt: skip
    key.take(record)
    return key


def _check_seat(caller: Caller) -> None:
    """KeyRefused where the member who made the batch may not call models any more."""
    seat = Member.objects.select_related("user").filter(user_id=caller.user_id).first() if caller.user_id else None
    if seat is None or not seat.user.is_active:
        raise KeyRefused("The member who made the batch has left the organization.")
    if "inference" not in PERMISSIONS[seat.role]:
        raise KeyRefused(f"The role of the member who made the batch, {seat.role}, does not include 'inference'.")


def _record(caller: Caller, tenant: Tenant) -> KeyRecord:
    """What the door would tell of the batch's key, or of the seat of the member who made it. KeyRefused for a key that
    opens nothing any more, and for a member who has left or whose role calls nothing."""
    if caller.key_id is None:
        _check_seat(caller)
    row = ApiKey.objects.filter(pk=caller.key_id, project_id=caller.project_id).first() if caller.key_id else None
    if caller.key_id is not None and row is None:
        raise KeyRefused("The API key that made the batch is gone.")
    record = KeyRecord(
        id=row.pk if row is not None else NOBODY,
        tenant_id=caller.tenant_id,
        tenant_slug=tenant.slug,
        tenant_status=tenant.status,
        project_id=caller.project_id,
        name=row.name if row is not None else "",
        secret_hash="",
        scopes=frozenset(row.scopes) if row is not None else SCOPES,
        limits={},
        expires_at=row.expires_at if row is not None else None,
        revoked_at=row.revoked_at if row is not None else None,
    )
    if not record.opens_at(now()):
        raise KeyRefused("The API key that made the batch was revoked, or has expired.")
    return record
