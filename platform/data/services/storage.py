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


def storage_measure(*, at: dt.datetime | None = None) -> int:
    """Record this hour's storage of every open tenant that has none recorded yet; nano-USD charged. Safe to repeat."""
    hour = (at or now()).astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    done = storage_recorded(hour=hour)
    with ops_scope("find who stores something"):
        keepers = set(File.ops.filter(deleted_at=None).order_by().values_list("tenant_id", flat=True).distinct())
        keepers |= set(DatasetVersion.ops.order_by().values_list("tenant_id", flat=True).distinct())
        closed = set(Tenant.ops.filter(status=Tenant.Status.CLOSED).values_list("pk", flat=True))

    def measure(tenant_id: UUID) -> int:
        with tenant_scope(tenant_id):
            return storage_record(hour=hour, stored=stored_bytes())

    return for_each("storage_measure", sorted(keepers - done - closed), measure)
