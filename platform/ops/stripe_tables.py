"""Stripe in the hands of staff: what is asked of it, what differs from it, and the replay of many of its events."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from billing.models import BillingFinding, DunningHold, Invoice, StripeCommand
from kit.errors import ApiError
from kit.http import client_ip
from ops import door, services
from ops.deeds import Deed, DeedTable
from ops.forms import CreditNoteForm, ReplayForm
from ops.services import Staff
from ops.tables import ReadOnly
from tenants.models import User

DECIDED = (StripeCommand.State.REFUSED, StripeCommand.State.DOUBT)


class CommandTable(DeedTable):
    """The outbox to Stripe."""

    list_display = ("__str__", "tenant", "attempts", "error", "created_at", "first_sent_at", "done_at")
    list_filter = ("state",)
    search_fields = ("operation", "tenant__slug", "key", "error")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    deeds = (
        Deed(
            name="again",
            title=_("Send again"),
            text=_("It goes out under a new key. Look at Stripe first: what happened there already happens twice."),
            icon="redo",
            offered=lambda row: row.state in (*DECIDED, StripeCommand.State.DROPPED),
            work=lambda by, row, form: services.command_send_again(tenant_id=row.tenant_id, command_id=row.pk, by=by),
        ),
        Deed(
            name="give_up",
            title=_("Give up"),
            text=_("It is not sent any more. What the customer asked for does not happen."),
            icon="do_not_disturb_on",
            offered=lambda row: row.state in DECIDED,
            work=lambda by, row, form: services.command_give_up(tenant_id=row.tenant_id, command_id=row.pk, by=by),
        ),
    )


class Open(admin.SimpleListFilter):
    """Whether it still is so."""

    title = _("state")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Open or settled."""
        return [("yes", _("open")), ("no", _("settled"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Only those."""
        if self.value() is None:
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() == "yes")


class FindingTable(DeedTable):
    """What is not as it must be."""

    list_display = ("kind", "object", "expected", "found", "first_seen", "last_seen", "resolved_at")
    list_filter = (Open,)
    search_fields = ("kind", "object", "found")
    ordering = ("-last_seen",)
    deeds = (
        Deed(
            name="settle",
            title=_("Settle"),
            text=_("Say how. Where it still is so, the next look opens another one."),
            icon="check_circle",
            offered=lambda row: row.resolved_at is None,
            work=lambda by, row, form: services.finding_settle(finding_id=row.pk, by=by),
        ),
    )


class HoldTable(DeedTable):
    """How far staff let overdue invoices bring an organisation."""

    list_display = ("__str__", "tenant", "reason", "created_by", "until", "revoked_at")
    search_fields = ("reason", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    deeds = (
        Deed(
            name="revoke",
            title=_("Take back"),
            text=_("The ladder goes on from the day of the oldest overdue invoice, at once."),
            icon="undo",
            offered=lambda row: row.revoked_at is None,
            work=lambda by, row, form: services.dunning_hold_revoke(tenant_id=row.tenant_id, hold=row, by=by),
        ),
    )


def still_on_its_way(made: StripeCommand) -> str:
    """What to say of a command that is not done yet; empty where it is."""
    if made.state == StripeCommand.State.DONE:
        return ""
    return _now("Stripe has not answered yet. It is noted and will be done, once.")


class InvoiceTable(DeedTable):
    """Invoices as Stripe tells them."""

    list_display = ("__str__", "tenant", "status", "total", "amount_paid", "currency", "issued_at", "due_at", "problem")
    search_fields = ("number", "stripe_id", "tenant__slug")
    ordering = ("-issued_at",)
    list_select_related = ("tenant",)
    deeds = (
        Deed(
            name="credit",
            title=_("Refund or credit"),
            text=_("A credit note takes back a part of the invoice; never more than was paid, or is open."),
            icon="assignment_return",
            form=CreditNoteForm,
            options=lambda row: {"code": row.currency},
            offered=lambda row: row.status in ("paid", "open"),
            work=lambda by, row, form: services.invoice_credit(
                tenant_id=row.tenant_id,
                invoice_id=row.stripe_id,
                cents=int(form.cleaned_data["amount"] * 100),
                to=form.cleaned_data["to"],
                by=by,
            ),
            problem=still_on_its_way,
        ),
    )


TABLES: dict[type[Model], type[ReadOnly]] = {
    StripeCommand: CommandTable,
    BillingFinding: FindingTable,
    DunningHold: HoldTable,
    Invoice: InvoiceTable,
}


def replay(request: HttpRequest) -> HttpResponseBase:
    """Work on events of the inbox again: of a span, of a type, or all that failed."""
    if not door.is_confirmed(request):
        return redirect(f"{reverse('admin:login')}?{urlencode({'next': request.path})}")
    form = ReplayForm(request.POST if request.method == "POST" else None, initial={"failed": True})
    back = reverse("admin:billing_stripeevent_changelist")
    if form.is_valid():
        try:
            count = services.webhooks_replay(by=_staff(request, form), **_chosen(form))
        except ApiError as error:
            form.add_error(error.param if error.param in form.fields else None, error.message)
        else:
            messages.success(request, _now("%(n)s events are worked on again, within minutes.") % {"n": f"{count:,}"})
            return redirect(back)
    # The admin's own templates ask for these.
    from ops.site import staff

    context = {
        **staff.each_context(request),
        "title": _("Replay webhooks"),
        "text": _(
            "Each object is fetched from Stripe afresh and what follows from it is derived again. Twice is harmless."
        ),
        "form": form,
        "back": back,
        "verb": _("Replay"),
    }
    status = 422 if request.method == "POST" else 200
    return TemplateResponse(request, "ops/action.html", context, status=status)


def _chosen(form: ReplayForm) -> dict[str, Any]:
    return {name: form.cleaned_data[name] for name in ("since", "until", "kind", "failed")}


def _staff(request: HttpRequest, form: ReplayForm) -> Staff:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the site's door
    return Staff(user=user, reason=form.cleaned_data["reason"], ip=client_ip(request))
