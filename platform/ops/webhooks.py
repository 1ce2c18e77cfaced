"""Webhooks out, as staff's tables show them: where to by host alone, since many addresses are secrets in themselves,
and what became of each event. Never a secret, nor what a customer's server answered. The customer's own pages, which
staff see on a visit, show the address.
"""

from django.contrib import admin
from django.db.models import Model
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from hooks.addresses import host_of
from hooks.models import Delivery, DeliveryTry, Endpoint
from hooks.services import Replayed
from ops import services
from ops.deeds import Deed, DeedTable
from ops.forms import SinceForm
from ops.tables import SECRET, ReadOnly, generic

HIDDEN = SECRET | {"url", "excerpt"}


def _counted(made: Replayed) -> str:
    sent = ngettext("%(n)s delivery is sent again.", "%(n)s deliveries are sent again.", made.count)
    left = _("%(left)s older than these are left: do it once more.") if made.left else ""
    return f"{sent} {left}".strip() % {"n": f"{made.count:,}", "left": f"{made.left:,}"}


class EndpointTable(DeedTable):
    """Endpoints of customers."""

    hidden = HIDDEN
    list_display = ("__str__", "tenant", "host", "state", "reason", "failures", "failing_since", "created_at")
    first = ("name", "public_id", "tenant", "project", "host", "event_types", "state", "reason", "secret_hint")
    list_filter = ("state",)
    search_fields = ("name", "tenant__slug", "tenant__name")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    deeds = (
        Deed(
            name="replay_failed",
            title=_("Replay what failed"),
            text=_(
                "Every delivery of this endpoint that ended as failed or blocked since then is sent again, under the "
                "same event id. The customer's audit log says so, with your reason."
            ),
            icon="replay",
            form=SinceForm,
            offered=lambda row: row.state == Endpoint.State.ENABLED,
            work=lambda by, row, form: services.deliveries_replay(
                tenant_id=row.tenant_id, endpoint_id=row.pk, since=form.cleaned_data["since"], by=by
            ),
            problem=lambda made: "" if made.count else str(_("Nothing has failed since then.")),
            outcome=_counted,
        ),
    )

    @admin.display(description=_("Host"))
    def host(self, row: Endpoint) -> str:
        """Of its URL."""
        return host_of(row.url) or "–"


class DeliveryTable(DeedTable):
    """Deliveries."""

    hidden = HIDDEN
    list_display = ("__str__", "tenant", "endpoint", "event", "state", "tries", "status_code", "error", "created_at")
    first = ("public_id", "tenant", "endpoint", "event", "state", "tries", "status_code", "error", "next_at")
    list_filter = ("state",)
    search_fields = ("endpoint__name", "event__type", "error", "tenant__slug")
    ordering = ("-id",)
    list_select_related = ("tenant", "endpoint", "event")
    deeds = (
        Deed(
            name="replay",
            title=_("Replay"),
            text=_(
                "The event is sent again now, under the same id, and its schedule of tries begins anew. The customer's "
                "audit log says so, with your reason."
            ),
            icon="replay",
            work=lambda by, row, form: services.delivery_replay(tenant_id=row.tenant_id, delivery_id=row.pk, by=by),
        ),
    )


TABLES: dict[type[Model], type[ReadOnly]] = {
    Endpoint: EndpointTable,
    Delivery: DeliveryTable,
    DeliveryTry: generic(DeliveryTry, hidden=HIDDEN),
}
