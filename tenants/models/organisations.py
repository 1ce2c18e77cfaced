"""Tenants, their projects, their members, and invitations."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from kit.ids import new_id, public_id
from kit.money import HOUSE
from tenants.models.base import OpsManager, TenantManager, TenantModel
from tenants.scope import current_tenant_id


class Role(models.TextChoices):
    """What a member may do; see `tenants.access.PERMISSIONS`."""

    OWNER = "owner", _("Owner")
    ADMIN = "admin", _("Admin")
    BILLING = "billing", _("Billing")
    DEVELOPER = "developer", _("Developer")
    VIEWER = "viewer", _("Viewer")


class TenantRowManager(TenantManager):
    """The tenant table itself: one row per scope."""

    def get_queryset(self) -> models.QuerySet["Tenant"]:
        """Only the scope's own row."""
        return models.QuerySet(self.model, using=self._db).filter(pk=current_tenant_id())


class Tenant(models.Model):
    """An organisation that signed up; the wall of isolation."""

    class Status(models.TextChoices):
        """Whether it may work."""

        ACTIVE = "active", _("Active")
        SUSPENDED = "suspended", _("Suspended")
        CLOSED = "closed", _("Closed")
        ERASED = "erased", _("Erased")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=48, unique=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    currency = models.CharField(max_length=3, default=HOUSE, db_default=HOUSE, editable=False)
    """What all its amounts are in, as Stripe writes it; never changed."""
    created_at = models.DateTimeField(default=now, editable=False)

    objects = TenantRowManager()
    ops = OpsManager()

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        """`org_…` on the wire."""
        return public_id("org_", self.id)


class Project(TenantModel):
    """A workspace inside a tenant; owns files, jobs, models, deployments and keys."""

    prefix = "proj_"

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=48)
    created_at = models.DateTimeField(default=now, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "slug"], name="tenants_project_slug_once")]

    def __str__(self) -> str:
        return self.name


class Member(TenantModel):
    """A user in a tenant, with a role."""

    prefix = "mem_"

    user = models.ForeignKey("tenants.User", on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="tenants_member_once")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class Invitation(TenantModel):
    """A seat offered to an e-mail address. Only the hash of its token is kept; it works once, until it expires."""

    prefix = "inv_"

    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=16, choices=Role)
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey("tenants.User", on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"
