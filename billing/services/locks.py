"""One lock per tenant for everything that follows from Stripe, held until the transaction ends."""

from uuid import UUID

from django.db import connection


def money_lock(tenant_id: UUID) -> None:
    """Wait for, and take, the tenant's lock. Taken again by its holder it is free."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 11))", [f"stripe:{tenant_id}"])
