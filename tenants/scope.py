"""The first wall: a tenant-owned query outside a scope raises.

`tenant_scope` opens a transaction and tells PostgreSQL whose rows may be seen (`SET LOCAL app.tenant_id`), which feeds
the second wall, row-level security. `ops_scope` is for staff and sweepers: another database role, with a reason.
"""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from uuid import UUID

from django.db import connections, transaction

logger = logging.getLogger(__name__)

_tenant: ContextVar[UUID | None] = ContextVar("tenant", default=None)
_ops: ContextVar[str | None] = ContextVar("ops", default=None)

OPS = "ops"
"""Database alias of the role that row-level security does not bind."""


class ScopeError(RuntimeError):
    """A tenant's rows were asked for outside that tenant's scope: a bug in our code, never a user's mistake."""


def current_tenant_id() -> UUID:
    """The tenant of the running scope; ScopeError outside one."""
    tenant_id = _tenant.get()
    if tenant_id is None:
        raise ScopeError("This query needs tenant_scope(tenant_id) around it.")
    return tenant_id


def scoped_tenant_id() -> UUID | None:
    """The same, or None outside one: for what has an answer there too."""
    return _tenant.get()


def current_ops_reason() -> str:
    """The reason of the running ops scope; ScopeError outside one."""
    reason = _ops.get()
    if reason is None:
        raise ScopeError("This query needs ops_scope(reason) around it.")
    return reason


@contextlib.contextmanager
def tenant_scope(tenant_id: UUID) -> Iterator[None]:
    """Everything inside sees one tenant's rows, in one transaction. Nesting the same tenant sets a savepoint."""
    active = _tenant.get()
    connection = connections["default"]
    if active is not None:
        if active != tenant_id:
            raise ScopeError(f"Already in the scope of tenant {active}; leave it before entering {tenant_id}.")
        if connection.in_atomic_block:
            with transaction.atomic():
                yield
            return
    nested = connection.in_atomic_block
    with transaction.atomic():
        _set_tenant(str(tenant_id))
        token = _tenant.set(tenant_id)
        try:
            yield
        finally:
            _tenant.reset(token)
        if nested:  # the surrounding transaction lives on: it must not keep our tenant
            _set_tenant("")


@contextlib.contextmanager
def reading(tenant_id: UUID) -> Iterator[None]:
    """`tenant_scope` for code that only reads: inside the tenant's scope it asks the database nothing, where another
    scope would set a savepoint."""
    if _tenant.get() == tenant_id and connections["default"].in_atomic_block:
        yield
        return
    with tenant_scope(tenant_id):
        yield


def _set_tenant(value: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant_id', %s, true)", [value])


@contextlib.contextmanager
def ops_scope(reason: str) -> Iterator[None]:
    """Everything inside may use `Model.ops` managers, which see every tenant through the ops role."""
    if not reason:
        raise ScopeError("ops_scope needs a reason.")
    token = _ops.set(reason)
    try:
        yield
    finally:
        _ops.reset(token)
