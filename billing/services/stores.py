"""The process's quota store."""

from __future__ import annotations

import functools

from django.conf import settings

from billing.models import UsageEvent
from billing.quotas import QuotaStore
from tenants.scope import ops_scope


@functools.cache
def quota_store() -> QuotaStore:
    """One blocking store per process (a line per thread)."""
    return QuotaStore(settings.REDIS_URL)


def store_begin(store: QuotaStore) -> bool:
    """In an installation that never metered a call the rates begin full; True then. Anywhere else a quota server that
    knows nothing has lost what it knew, and they refill from empty."""
    with ops_scope("see whether a call was ever metered"):
        if UsageEvent.ops.exists():
            return False
    store.begin()
    return True
