"""The process's quota store."""

from __future__ import annotations

import functools

from django.conf import settings

from billing.models import UsageEvent
from billing.quotas import QuotaStore
from billing.quotas.recount import Recount
from tenants.scope import ops_scope


@functools.cache
def quota_store() -> QuotaStore:
    """One blocking store per process (a line per thread)."""
    return QuotaStore(settings.REDIS_URL)


@functools.cache
def calling_store() -> QuotaStore:
    """The same store, for a process that runs calls: a server that loses what it knew is told of them."""
    store = quota_store()
    Recount(store, store.running).start()
    return store


def store_begin(store: QuotaStore) -> bool:
    """In an installation that never metered a call the rates begin full; True then. Anywhere else a quota server that
    knows nothing has lost what it knew, and they refill from empty."""
    with ops_scope("see whether a call was ever metered"):
        if UsageEvent.ops.exists():
            return False
    store.begin()
    return True
