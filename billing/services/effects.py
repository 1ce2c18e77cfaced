"""What follows a change of limits: every process hears of it, and money promised under the old ones is taken back."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import Error as DatabaseError

from billing.quotas import QuotaUnavailable
from billing.selectors.budgets import WALLET, budget_name
from billing.services.leases import lease_recall, lease_trim
from billing.services.stores import quota_store
from kit import redis

logger = logging.getLogger(__name__)

NEWS = "news:entitlements"
"""Redis channel; the message is the tenant's id."""


def limits_changed(tenant_id: UUID, name: str = "") -> None:
    """After the commit: tell everybody, and recall what is unspent of the budget called `name`, if one changed."""
    redis.publish(NEWS, str(tenant_id))
    if not name:
        return
    try:
        lease_recall(store=quota_store(), tenant_id=tenant_id, name=name)
    except (QuotaUnavailable, DatabaseError) as error:  # the change itself is committed: it must not look refused
        logger.warning("the lease of %s is trimmed by the next sweep: %s", name, error)


def funds_changed(tenant_id: UUID) -> None:
    """After the commit: credit came or went. Calls hear what is left, and what is leased beyond that is recalled."""
    redis.publish(NEWS, str(tenant_id))
    try:
        lease_trim(store=quota_store(), tenant_id=tenant_id, name=budget_name(WALLET, tenant_id.hex))
    except (QuotaUnavailable, DatabaseError) as error:  # as above
        logger.warning("the wallet's lease is trimmed by the next sweep: %s", error)
