"""Deployments as staff see them, and keeping their models in the engines' memory."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.utils.translation import gettext_lazy as _

from ops import services
from ops.deeds import Deed, DeedTable
from ops.services import Staff
from ops.tables import ReadOnly
from serving.models import Deployment


def _pins(pinned: bool) -> Callable[[Staff, Deployment, Any], str]:
    return lambda by, row, form: services.deployment_pin(
        tenant_id=row.tenant_id, deployment_id=row.pk, pinned=pinned, by=by
    )


class DeploymentTable(DeedTable):
    """Deployments."""

    list_display = ("__str__", "public_id", "tenant", "state", "kept", "live_at", "last_called_at")
    first = ("public_id", "tenant", "project", "model", "version", "state", "kept", "reason", "live_at", "ended_at")
    list_filter = ("state",)
    search_fields = ("model__name", "alias", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant", "model", "version")
    deeds = (
        Deed(
            name="pin",
            title=_("Keep in memory"),
            text=_(
                "Engines hold its model whatever else is loaded, until you let it go or it is stopped. Pinned models "
                "of all organisations together take at most half of an engine's memory for models: everybody else "
                "shares the rest."
            ),
            icon="push_pin",
            offered=lambda row: row.state == Deployment.State.LIVE and not row.version.pinned,
            work=_pins(True),
            problem=lambda made: made,
        ),
        Deed(
            name="unpin",
            title=_("Let go"),
            text=_("It is served as before, and leaves memory when nobody calls it and others need the room."),
            icon="lock_open",
            offered=lambda row: row.state == Deployment.State.LIVE and row.version.pinned,
            work=_pins(False),
            problem=lambda made: made,
        ),
    )

    @admin.display(description=_("Kept in memory"), boolean=True)
    def kept(self, row: Deployment) -> bool:
        """Whether engines are told to keep it."""
        return row.version.pinned


TABLES: dict[type[Model], type[ReadOnly]] = {Deployment: DeploymentTable}
