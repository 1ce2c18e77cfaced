"""Tables with something to do: suspend and reopen, override a quota, requeue a job, replay a webhook.

Each action is a page that asks why, then one call of `ops.services`; an error of the service is shown on that page.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Count, Q, Sum
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from billing.models import EntitlementOverride, StripeEvent, UsageHour
from billing.selectors.subscriptions import entitlement_for
from kit.clock import now
from kit.errors import ApiError
from kit.http import client_ip
from kit.money import usd
from ops import services
from ops.forms import OverrideForm, ReasonForm
from ops.services import Staff
from ops.site import staff
from ops.tables import ReadOnly, generic, register_all
from tenants.models import ApiKey, AuditEvent, Member, Tenant, User
from training.models import Job

Work = Callable[[Staff, Any], Any]


class WithActions(ReadOnly):
    """A table whose rows can be acted on."""

    def ask(
        self,
        request: HttpRequest,
        object_id: str,
        *,
        title: Any,
        text: Any,
        work: Work,
        form_class: type[ReasonForm] = ReasonForm,
        **options: Any,
    ) -> HttpResponseBase:
        """The page that asks why; on POST the work, then back to the row."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        form = form_class(request.POST if request.method == "POST" else None, **options)
        if form.is_valid() and self._worked(request, form, work):
            messages.success(request, _("Done: %(title)s.") % {"title": title})
            return redirect(self.row_url(row))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{title}: {row}",
            "text": text,
            "form": form,
            "opts": self.model._meta,
            "back": self.row_url(row),
            "verb": title,
        }
        status = 422 if request.method == "POST" else 200
        return TemplateResponse(request, "ops/action.html", context, status=status)

    def _worked(self, request: HttpRequest, form: forms.Form, work: Work) -> bool:
        user = request.user
        assert isinstance(user, User)  # noqa: S101 - the site's door
        by = Staff(user=user, reason=form.cleaned_data["reason"], ip=client_ip(request))
        try:
            work(by, form)
        except ApiError as error:
            form.add_error(error.param if error.param in form.fields else None, error.message)
            return False
        return True

    def row_url(self, row: Any) -> str:
        """The row's own page."""
        return reverse(f"admin:{self.model._meta.app_label}_{self.model._meta.model_name}_change", args=[row.pk])


class TenantTable(WithActions):
    """Organisations."""

    list_display = ("name", "slug", "status", "created_at")
    list_filter = ("status",)
    search_fields = ("name", "slug")
    ordering = ("-created_at",)
    actions_detail = ("suspend", "reopen", "override")
    fields = ("name", "shown_id", "slug", "status", "created_at", "plan", "people", "jobs", "keys", "spent")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The row's own columns, and what staff ask about first."""
        return self.fields

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Suspend what works, reopen what does not."""
        row = self.get_object(request, str(object_id))
        idle = "reopen" if row is not None and row.status == Tenant.Status.ACTIVE else "suspend"
        return [one for one in super().get_actions_detail(request, object_id) if not one.action_name.endswith(idle)]

    @admin.display(description=_("ID"))
    def shown_id(self, row: Tenant) -> str:
        """As on the wire."""
        return row.public_id

    @admin.display(description=_("Plan"))
    def plan(self, row: Tenant) -> str:
        """What it may do now."""
        found = entitlement_for(row.pk)
        return f"{found.plan} {found.plan_version} ({found.standing})"

    @admin.display(description=_("Members"))
    def people(self, row: Tenant) -> str:
        """Who, with roles."""
        seats = Member.ops.select_related("user").filter(tenant=row).order_by("created_at")[:20]
        return ", ".join(f"{seat.user.email} ({seat.role})" for seat in seats)

    @admin.display(description=_("Jobs"))
    def jobs(self, row: Tenant) -> str:
        """By state."""
        counts = Job.ops.filter(tenant=row).values_list("state").annotate(n=Count("pk"))
        return ", ".join(f"{n} {state}" for state, n in sorted(counts)) or "–"

    @admin.display(description=_("Open API keys"))
    def keys(self, row: Tenant) -> int:
        """Neither revoked nor expired."""
        alive = ApiKey.ops.filter(tenant=row, revoked_at=None)
        return int(alive.filter(Q(expires_at=None) | Q(expires_at__gt=now())).count())

    @admin.display(description=_("Used this month"))
    def spent(self, row: Tenant) -> str:
        """By the hourly sums."""
        first = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return usd(UsageHour.ops.filter(tenant=row, hour__gte=first).aggregate(n=Sum("cost_nano"))["n"] or 0)

    @action(description=_("Suspend"), url_path="suspend", icon="block")
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Stop it."""
        return self.ask(
            request,
            object_id,
            title=_("Suspend"),
            text=_("Its keys fail within 5 seconds and its members read and change nothing. Running jobs finish."),
            work=lambda by, form: services.tenant_suspend(tenant_id=UUID(object_id), by=by),
        )

    @action(description=_("Reopen"), url_path="reopen", icon="lock_open")
    def reopen(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Let it work again."""
        return self.ask(
            request,
            object_id,
            title=_("Reopen"),
            text=_("Keys that were not revoked work again within 5 seconds."),
            work=lambda by, form: services.tenant_reopen(tenant_id=UUID(object_id), by=by),
        )

    @action(description=_("Override quota"), url_path="override", icon="tune")
    def override(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Change a limit, or grant a plan."""
        return self.ask(
            request,
            object_id,
            title=_("Override quota"),
            text=_("The newest override of a limit counts. It can be taken back under Entitlement overrides."),
            form_class=OverrideForm,
            present=entitlement_for(UUID(object_id)).limits if self.get_object(request, object_id) else None,
            work=lambda by, form: services.quota_override(
                tenant_id=UUID(object_id),
                by=by,
                limits=form.cleaned_data["limits"],
                plan=form.cleaned_data["plan"],
                valid_until=form.until(),
            ),
        )


class OverrideTable(WithActions):
    """Entitlement overrides."""

    list_display = ("tenant", "reason", "created_by", "valid_from", "valid_until", "revoked_at")
    search_fields = ("reason", "created_by", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    actions_detail = ("take_back",)

    @action(description=_("Take back"), url_path="take-back", icon="undo")
    def take_back(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Revoke it."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return self.ask(
            request,
            object_id,
            title=_("Take back"),
            text=_("The tenant's limits are those of its plan again, within seconds."),
            work=lambda by, form: services.quota_override_revoke(tenant_id=row.tenant_id, override=row, by=by),
        )


class JobTable(WithActions):
    """Fine-tuning jobs."""

    list_display = ("public_id", "tenant", "state", "task", "method", "attempt", "progress", "created_at")
    list_filter = ("state", "method")
    search_fields = ("suffix", "model_name", "lease_owner", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    actions_detail = ("requeue",)

    @action(description=_("Requeue"), url_path="requeue", icon="replay")
    def requeue(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Take it from its worker."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return self.ask(
            request,
            object_id,
            title=_("Requeue"),
            text=_(
                "A worker that holds it is fenced off; it goes on from its last checkpoint. The customer pays nothing."
            ),
            work=lambda by, form: services.job_requeue(tenant_id=row.tenant_id, job_id=row.pk, by=by),
        )


class StripeEventTable(WithActions):
    """The webhook inbox."""

    list_display = ("event_id", "type", "state", "attempts", "received_at", "handled_at")
    list_filter = ("state", "type")
    search_fields = ("event_id", "type", "object_id", "customer_id")
    ordering = ("-received_at",)
    actions_detail = ("replay",)

    @action(description=_("Replay"), url_path="replay", icon="replay")
    def replay(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Work on it again."""
        return self.ask(
            request,
            object_id,
            title=_("Replay"),
            text=_("The object is fetched from Stripe afresh and what follows from it is derived again."),
            work=lambda by, form: services.webhook_replay(event_pk=int(object_id), by=by),
        )


OWN: dict[type[models.Model], type[ReadOnly]] = {
    Tenant: TenantTable,
    EntitlementOverride: OverrideTable,
    Job: JobTable,
    StripeEvent: StripeEventTable,
    User: generic(
        User,
        list_display=("email", "name", "is_staff", "is_active", "last_login", "date_joined"),
        list_filter=("is_staff", "is_active"),
        ordering=("-date_joined",),
        search_fields=("email", "name"),
    ),
    AuditEvent: generic(
        AuditEvent,
        list_display=("at", "tenant", "actor_label", "actor_kind", "action", "target_label", "reason"),
        list_filter=("actor_kind",),
        search_fields=("actor_label", "action", "target_id", "tenant__slug"),
    ),
}

register_all(staff, OWN)
staff.register(EmailAddress, generic(EmailAddress, search_fields=("email",)))
staff.register(Group, generic(Group))
