"""The process's quota store."""

from __future__ import annotations

import functools

from django.conf import settings

from billing.quotas import QuotaStore


@functools.cache
def quota_store() -> QuotaStore:
    """One blocking store per process (a line per thread)."""
    return QuotaStore(settings.REDIS_URL)
