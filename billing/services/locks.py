"""The locks of a tenant's money, held until the transaction ends.

One order for everybody, so that no two wait for each other: the organisation's row (`tenant_turn`), rows of budgets by
their names, `money_lock`, `ledger_lock`, `days_lock`. Taken again by its holder each is free. Who finds out under
`money_lock` that the organisation's row has to change does not wait for it (`services.dunning`).
"""

from collections.abc import Collection
from uuid import UUID

from django.db import connection, connections
from django.db.backends.utils import CursorWrapper

from tenants.scope import OPS


def money_lock(tenant_id: UUID) -> None:
    """Wait for, and take, the lock for everything that follows from Stripe."""
    _take(f"stripe:{tenant_id}", 11)


def ledger_lock(tenant_id: UUID) -> None:
    """Wait for, and take, the lock for posting usage, drawing credit and closing months."""
    _take(f"ledger:{tenant_id}", 7)


def days_lock(tenant_id: UUID) -> None:
    """Wait for, and take, the lock for deriving rated lines from hours (`services.metering`), so that they stay as they
    are while they are posted. The roll-up holds it while it waits for nothing above."""
    _take(f"rate:{tenant_id}", 7)


def posting_locks(tenant_ids: Collection[UUID]) -> set[UUID]:
    """Take `days_lock` and `ledger_lock` of many tenants in the ops role's transaction, as far as both are free; whose
    they were. Nobody is waited for, so whoever holds one and waits for another can come to no harm."""
    with connections[OPS].cursor() as cursor:
        return locks(cursor, "ledger", locks(cursor, "rate", tenant_ids))


def locks(cursor: CursorWrapper, name: str, tenant_ids: Collection[UUID]) -> set[UUID]:
    """The lock `name` (of seed 7) of each tenant that has it free."""
    cursor.execute(
        "SELECT whose FROM unnest(%s::uuid[]) whose"
        " WHERE pg_try_advisory_xact_lock(hashtextextended(%s || ':' || whose::text, 7))",
        [list(tenant_ids), name],
    )
    return {row[0] for row in cursor.fetchall()}


def _take(name: str, seed: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, seed])
