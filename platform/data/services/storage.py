"""Measuring what tenants store, once an hour, for their bill."""

import datetime as dt
from uuid import UUID

from billing.services.storage import storage_record, storage_recorded
from billing.services.sweeps import for_each
from data.models import DatasetVersion, File
from data.selectors import stored_bytes
from kit.clock import now
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope

PARTS = 10
"""An hour's measuring is spread over so many twelfths of it, for each has to be posted by itself where it begins
another package. Whom a tick missed the later ones take along; those of the last two have nobody of their own."""


def storage_measure(*, at: dt.datetime | None = None) -> int:
    """Record this hour's storage of every open tenant whose part of the hour has come and who has none recorded yet;
    nano charged. Safe to repeat."""
    moment = (at or now()).astimezone(dt.UTC)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    done = storage_recorded(hour=hour)
    with ops_scope("find who stores something"):
        keepers = set(File.ops.filter(deleted_at=None).order_by().values_list("tenant_id", flat=True).distinct())
        keepers |= set(DatasetVersion.ops.order_by().values_list("tenant_id", flat=True).distinct())
        closed = set(Tenant.ops.filter(status=Tenant.Status.CLOSED).values_list("pk", flat=True))

    def measure(tenant_id: UUID) -> int:
        with tenant_scope(tenant_id):
            return storage_record(hour=hour, stored=stored_bytes())

    due = sorted(one for one in keepers - done - closed if one.int % PARTS <= moment.minute // 5)
    return for_each("storage_measure", due, measure)
