"""The base of every tenant's task: it takes ids, enters the tenant's scope, then runs the body."""

import functools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import shared_task

from tenants.scope import tenant_scope
from tenants.services.erasing import BYTES, tenant_bytes_erase, tenants_erase_closed
from tenants.services.keys import keys_flush

SCHEDULE = {"tenants.flush_key_use": 20.0, "tenants.erase_closed": 3600.0}


def tenant_task(name: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A Celery task whose first argument is the tenant's id (text); the body runs in that tenant's scope.

    Use for short work that fits one transaction. Long work takes the id and opens its own scopes around each step.
    """

    def decorate(body: Callable[..., Any]) -> Any:
        @shared_task(name=name, **options)
        @functools.wraps(body)
        def run(tenant_id: str, *arguments: Any) -> Any:
            with tenant_scope(UUID(tenant_id)):
                return body(*arguments)

        return run

    return decorate


@shared_task(name="tenants.flush_key_use")
def flush_key_use() -> int:
    """Write the "last used" times of API keys."""
    return keys_flush()


@shared_task(name="tenants.erase_closed")
def erase_closed() -> int:
    """Erase organisations that were closed thirty days ago; returns how many."""
    return tenants_erase_closed()


@shared_task(name=BYTES)
def erase_bytes(tenant_id: str) -> int:
    """Remove what an erased organisation has stored; long, so it opens its own scope."""
    return tenant_bytes_erase(tenant_id=UUID(tenant_id))
