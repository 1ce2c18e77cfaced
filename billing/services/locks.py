"""The locks of a tenant's money, held until the transaction ends.

One order for everybody, so that no two wait for each other: the organisation's row (`tenant_turn`), rows of budgets by
their names, `money_lock`, `ledger_lock`. Taken again by its holder each is free. Who finds out under `money_lock` that
the organisation's row has to change does not wait for it (`services.dunning`).
"""

from uuid import UUID

from django.db import connection


def money_lock(tenant_id: UUID) -> None:
    """Wait for, and take, the lock for everything that follows from Stripe."""
    _take(f"stripe:{tenant_id}", 11)


def ledger_lock(tenant_id: UUID) -> None:
    """Wait for, and take, the lock for posting usage, drawing credit and closing months."""
    _take(f"ledger:{tenant_id}", 7)


def _take(name: str, seed: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, seed])
