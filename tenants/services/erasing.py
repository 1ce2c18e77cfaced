"""Erasing an organisation thirty days after it was closed: its rows, then its bytes.

What stays is the organisation's name, the log of changes, and the books (`LastingModel`), which the law wants kept.
"""

import datetime as dt
from uuid import UUID

from django.apps import apps
from django.db import connection, transaction
from django.db.models import OuterRef, Subquery

from kit import outbox, storage
from kit.clock import now
from tenants import audit
from tenants.models import AuditEvent, LastingModel, StaffModel, Tenant, TenantModel
from tenants.scope import OPS, ops_scope, tenant_scope

REOPENABLE = dt.timedelta(days=30)
"""How long support can undo a closing; the page that asks says so."""
CLOSING = "tenant.closed"
BATCH = 20
BYTES = "tenants.bytes_erase"


def tenants_erase_closed() -> int:
    """Erase every organisation that has been closed for so long; how many."""
    due = _closed_since(now() - REOPENABLE)
    return sum(tenant_erase(tenant_id=tenant_id) for tenant_id in due)


def _closed_since(moment: dt.datetime) -> list[UUID]:
    """Only what its members or staff closed: what was closed for an unpaid invoice is kept until that is paid."""
    with ops_scope("find organisations closed long ago"):
        closings = AuditEvent.ops.filter(tenant_id=OuterRef("pk"), action__startswith="tenant.closed").order_by("-at")
        closed = Tenant.ops.filter(status=Tenant.Status.CLOSED).annotate(
            since=Subquery(closings.values("at")[:1]), how=Subquery(closings.values("action")[:1])
        )
        due = closed.filter(since__lte=moment, how=CLOSING).order_by("since")
        return list(due.values_list("pk", flat=True)[:BATCH])


def tenant_erase(*, tenant_id: UUID) -> bool:
    """Delete all its rows but those that last, and ring for its bytes; False if it was reopened meanwhile."""
    with tenant_scope(tenant_id):
        tenant = Tenant.objects.select_for_update().filter(status=Tenant.Status.CLOSED).first()
        if tenant is None:
            return False
        with connection.cursor() as cursor:  # references are checked at the commit, so the order does not matter
            for table in _tables():
                cursor.execute(f'DELETE FROM "{table}" WHERE tenant_id = %s', [tenant_id])
        _staff_rows_erase(tenant_id)
        tenant.status = Tenant.Status.ERASED
        tenant.save(update_fields=["status"])
        audit.record(action="tenant.erased", target=tenant, reason="closed for thirty days")
        outbox.ring(BYTES, str(tenant_id))
    return True


def tenant_bytes_erase(*, tenant_id: UUID) -> int:
    """Remove everything an erased organisation has stored; how many objects. Nothing of one that is not erased."""
    with tenant_scope(tenant_id):
        if not Tenant.objects.filter(status=Tenant.Status.ERASED).exists():
            return 0
    return storage.delete_folder(f"t/{tenant_id}")


def _staff_rows_erase(tenant_id: UUID) -> None:
    """What staff noted about it, which the role of its own pages cannot even delete. No row of another table points
    there, so a connection of its own does; where the erasing fails after it, the next try finds nothing here."""
    with ops_scope("erase what staff noted about an organisation"), transaction.atomic(using=OPS):
        for model in apps.get_models():
            if issubclass(model, StaffModel):
                model.ops.filter(tenant_id=tenant_id).delete()


def _tables() -> list[str]:
    """Every table of tenants' rows that do not last."""
    models = [model for model in apps.get_models() if issubclass(model, TenantModel)]
    return [model._meta.db_table for model in models if not issubclass(model, LastingModel | StaffModel)]
