"""Bases of every tenant-owned table, and the managers that refuse to forget the tenant."""

from typing import Any, ClassVar

from django.db import models

from kit.ids import new_id, public_id
from tenants.scope import OPS, current_ops_reason, current_tenant_id


class TenantManager(models.Manager[Any]):
    """Rows of the scope's tenant; raises ScopeError outside `tenant_scope`."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Filtered by the scope's tenant, on top of the database's own policy."""
        return super().get_queryset().filter(tenant_id=current_tenant_id())

    def create(self, **values: Any) -> Any:
        """A row of the scope's tenant; no other tenant can be named."""
        values.setdefault("tenant_id", current_tenant_id())
        return super().create(**values)


class OpsManager(models.Manager[Any]):
    """Rows of every tenant through the ops role; raises ScopeError outside `ops_scope`."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Unfiltered, on the ops connection."""
        current_ops_reason()
        return super().get_queryset().using(OPS)


class HouseManager(models.Manager[Any]):
    """Rows of the installation's own, through the ops role."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """On the ops connection."""
        return super().get_queryset().using(OPS)


class HouseModel(models.Model):
    """A row that belongs to no tenant and is for staff alone: the role that serves tenants has no right to its table.
    Its migration must say `StaffOnly`; a guard test checks. What is done in one transaction needs one of `OPS`."""

    objects = HouseManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **values: Any) -> None:
        """Through the ops role, like everything else."""
        super().save(*args, **{"using": OPS, **values})


class TenantModel(models.Model):
    """A row that belongs to one tenant. Its migration must say `IsolateTable`; a guard test checks."""

    prefix: ClassVar[str] = ""
    """Prefix of the public id, such as `ds_`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="+", db_index=False)

    objects = TenantManager()
    ops = OpsManager()

    class Meta:
        abstract = True

    @property
    def public_id(self) -> str:
        """The id as clients see it."""
        return public_id(self.prefix, self.id)


class LastingModel(TenantModel):
    """A row that stays when its closed organisation is erased: the books, and the log of changes."""

    class Meta:
        abstract = True


class StaffModel(TenantModel):
    """A row about a tenant that is for staff alone. It is reached through the ops role, by either manager; the role
    that serves tenants has no right to its table. Its migration must say `StaffOnly`; a guard test checks."""

    objects: ClassVar[OpsManager] = OpsManager()  # type: ignore[assignment]

    class Meta:
        abstract = True


class ProjectModel(TenantModel):
    """A row that belongs to one project of a tenant."""

    project = models.ForeignKey("tenants.Project", on_delete=models.PROTECT, related_name="+", db_index=False)

    class Meta:
        abstract = True
