"""Tables with something to do or more to tell than their columns. Every other table of every room is read-only and
made from its fields (`ops.tables`)."""

from collections.abc import Callable
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _

from billing.models import EntitlementOverride, LedgerEntry, StripeEvent, UsageHour
from billing.selectors.subscriptions import entitlement_for
from kit.clock import now
from kit.money import usd
from ops import services, webhooks
from ops.deeds import Deed, DeedTable
from ops.forms import OverrideForm
from ops.models import StaffAction
from ops.services import Staff
from ops.site import staff
from ops.tables import ReadOnly, generic, register_all
from serving.models import Replica
from tenants import visiting
from tenants.models import ApiKey, AuditEvent, Member, Tenant, User, Visit
from training import states
from training.models import Attempt, Job, JobEvent, Slot

SHOWN = 20
"""Members, or lines of a log, on a row's page."""


def _into_the_console(request: HttpRequest, row: Tenant, visit: Visit) -> HttpResponseBase:
    """The browser gets the visit's cookie and goes there."""
    response = redirect("console:organisation", row.slug)
    response.set_cookie(
        visiting.COOKIE,
        visiting.cookie_value(visit.pk),
        max_age=int(visiting.LASTS.total_seconds()),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Strict",
    )
    return response


class TenantTable(DeedTable):
    """Organisations."""

    list_display = ("name", "slug", "status", "created_at")
    list_filter = ("status",)
    search_fields = ("name", "slug")
    ordering = ("-created_at",)
    only = ("name", "public_id", "slug", "status", "created_at", "plan", "people", "jobs", "keys", "spent", "more")
    deeds = (
        Deed(
            name="view",
            title=_("View as customer"),
            text=_("You see its console for 30 minutes and can change nothing. Its audit log says that you looked."),
            icon="visibility",
            offered=lambda row: row.status not in (Tenant.Status.CLOSED, Tenant.Status.ERASED),
            work=lambda by, row, form: services.visit_begin(tenant_id=row.pk, by=by),
            leads_to=_into_the_console,
        ),
        Deed(
            name="suspend",
            title=_("Suspend"),
            text=_(
                "Its keys fail within 5 seconds and its members read and change nothing. "
                "Running jobs stop with a checkpoint and go on after it is reopened."
            ),
            icon="block",
            offered=lambda row: row.status == Tenant.Status.ACTIVE,
            work=lambda by, row, form: services.tenant_suspend(tenant_id=row.pk, by=by),
        ),
        Deed(
            name="reopen",
            title=_("Reopen"),
            text=_("Keys that were not revoked work again within 5 seconds."),
            icon="lock_open",
            offered=lambda row: row.status not in (Tenant.Status.ACTIVE, Tenant.Status.ERASED),
            work=lambda by, row, form: services.tenant_reopen(tenant_id=row.pk, by=by),
        ),
        Deed(
            name="override",
            title=_("Override quota"),
            text=_("The newest override of a limit counts. It can be taken back under Overrides."),
            icon="tune",
            form=OverrideForm,
            options=lambda row: {"present": entitlement_for(row.pk).limits},
            work=lambda by, row, form: services.quota_override(
                tenant_id=row.pk,
                by=by,
                limits=form.cleaned_data["limits"],
                plan=form.cleaned_data["plan"],
                valid_until=form.until(),
            ),
        ),
    )

    @admin.display(description=_("Plan"))
    def plan(self, row: Tenant) -> str:
        """What it may do now."""
        found = entitlement_for(row.pk)
        return f"{found.plan} {found.plan_version} ({found.standing})"

    @admin.display(description=_("Members"))
    def people(self, row: Tenant) -> str:
        """Who, with roles."""
        every = Member.ops.filter(tenant=row)
        seats = every.select_related("user").order_by("created_at")[:SHOWN]
        said = [f"{seat.user.email} ({seat.role})" for seat in seats]
        left = every.count() - len(said)
        return ", ".join([*said, _("and %(n)s more") % {"n": left}] if left else said)

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

    @admin.display(description=_("More"))
    def more(self, row: Tenant) -> str:
        """Its rows in the tables staff look at next."""
        places = (
            (_("Jobs"), "training_job"),
            (_("Deployments"), "serving_deployment"),
            (_("Files"), "data_file"),
            (_("Members"), "tenants_member"),
            (_("Keys"), "tenants_apikey"),
            (_("Webhooks"), "hooks_endpoint"),
            (_("Invoices"), "billing_invoice"),
            (_("Usage"), "billing_usagehour"),
            (_("Audit log"), "tenants_auditevent"),
        )
        links = ((reverse(f"admin:{name}_changelist"), row.slug, label) for label, name in places)
        return format_html_join(" · ", '<a href="{}?q={}" class="text-primary-600 dark:text-primary-400">{}</a>', links)


class ActorKind(admin.SimpleListFilter):
    """Who changed something, by kind; the kinds are known, so the log is not read for them."""

    title = _("kind of actor")
    parameter_name = "actor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """As doors name them."""
        return [(kind, kind) for kind in ("user", "key", "staff", "system", "shell")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Only theirs."""
        return queryset.filter(actor_kind=self.value()) if self.value() else queryset


class OverrideTable(DeedTable):
    """Entitlement overrides."""

    list_display = ("__str__", "tenant", "reason", "created_by", "valid_from", "valid_until", "revoked_at")
    search_fields = ("reason", "created_by", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    deeds = (
        Deed(
            name="take_back",
            title=_("Take back"),
            text=_("The tenant's limits are those of its plan again, within seconds."),
            icon="undo",
            offered=lambda row: row.revoked_at is None,
            work=lambda by, row, form: services.quota_override_revoke(tenant_id=row.tenant_id, override=row, by=by),
        ),
    )


def _on_job(act: Callable[..., None]) -> Callable[[Staff, Job, Any], None]:
    """A service that takes one job, as a deed's work."""
    return lambda by, row, form: act(tenant_id=row.tenant_id, job_id=row.pk, by=by)


class JobTable(DeedTable):
    """Fine-tuning jobs."""

    list_display = ("__str__", "public_id", "tenant", "state", "method", "attempt", "progress", "created_at")
    first = (
        "public_id",
        "tenant",
        "project",
        "state",
        "phase",
        "progress",
        "tries",
        "log",
        "error_code",
        "error_message",
        "price_nano",
        "ceiling_nano",
        "created_at",
        "queued_at",
        "started_at",
        "finished_at",
        "heartbeat_at",
    )
    list_filter = ("state", "method")
    search_fields = ("suffix", "model_name", "lease_owner", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    deeds = (
        Deed(
            name="requeue",
            title=_("Requeue"),
            text=_(
                "A worker that holds it is fenced off; it goes on from its last checkpoint. The customer pays nothing."
            ),
            icon="replay",
            offered=lambda row: row.state in (*states.WORKING, states.QUEUED),
            work=_on_job(services.job_requeue),
        ),
        Deed(
            name="urgent",
            title=_("Make urgent"),
            text=_("It goes before every other waiting job, of whoever."),
            icon="priority_high",
            offered=lambda row: row.state == states.QUEUED and not row.is_urgent,
            work=_on_job(services.job_urgent),
        ),
        Deed(
            name="ordinary",
            title=_("Make ordinary again"),
            text=_("It takes its usual turn again, with the priority that its tenant asked for."),
            icon="low_priority",
            offered=lambda row: row.is_urgent and not row.is_final,
            work=_on_job(services.job_ordinary),
        ),
        Deed(
            name="hold",
            title=_("Hold"),
            text=_("It does not run until you release it. A worker that holds it is fenced off; its checkpoint stays."),
            icon="pause_circle",
            offered=lambda row: row.state in (*states.WORKING, states.QUEUED),
            work=_on_job(services.job_hold),
        ),
        Deed(
            name="release",
            title=_("Release"),
            text=_("It queues again where it stood."),
            icon="play_circle",
            offered=lambda row: row.blocked_by == states.HOLD,
            work=_on_job(services.job_release),
        ),
        Deed(
            name="kill",
            title=_("Stop for good"),
            text=_("It fails at once and costs nothing. The customer reads your reason."),
            icon="dangerous",
            offered=lambda row: not row.is_final,
            work=_on_job(services.job_kill),
        ),
    )

    @admin.display(description=_("Attempts"))
    def tries(self, row: Job) -> str:
        """Every try, and how it ended."""
        tries = Attempt.ops.filter(job=row).order_by("number")
        lines = (f"{one.number} · {one.worker} · {one.outcome or 'running'} {one.reason}".strip() for one in tries)
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines)) or "–"

    @admin.display(description=_("Newest of the log"))
    def log(self, row: Job) -> str:
        """The newest lines the customer sees, newest first."""
        events = JobEvent.ops.filter(job=row, type="message").order_by("-seq")[:SHOWN]
        lines = ((f"{one.created_at:%H:%M:%S}", one.message) for one in events)
        return format_html_join(mark_safe("<br>"), "{} {}", lines) or "–"


class SlotTable(DeedTable):
    """Places to train."""

    list_display = ("__str__", "kind", "heartbeat_at", "draining", "parked_at", "parked_because", "job_id", "attempt")
    search_fields = ("host",)
    ordering = ("host", "number")
    deeds = (
        Deed(
            name="park",
            title=_("Drain"),
            text=_("It takes no new job until you give it back. A job that runs there runs on; requeue it to move it."),
            icon="pause_circle",
            offered=lambda row: row.parked_at is None,
            work=lambda by, row, form: services.slot_park(slot_id=row.pk, by=by),
        ),
        Deed(
            name="unpark",
            title=_("Give back"),
            text=_("It takes jobs again."),
            icon="play_circle",
            offered=lambda row: row.parked_at is not None,
            work=lambda by, row, form: services.slot_unpark(slot_id=row.pk, by=by),
        ),
    )


class ReplicaTable(DeedTable):
    """Engines that announce themselves."""

    list_display = ("name", "address", "pool", "draining", "seen_at")
    search_fields = ("name", "address")
    deeds = (
        Deed(
            name="leave",
            title=_("Drain"),
            text=_(
                "It takes nothing new, finishes what it has, and its process ends; callers go on with the others. "
                "What keeps engines running (manage.py up, compose, Kubernetes) starts the next."
            ),
            icon="logout",
            offered=lambda row: not row.draining,
            work=lambda by, row, form: services.replica_leave(name=row.pk, by=by),
            leads_to=lambda request, row, made: redirect("admin:fleet"),
        ),
    )


def _still_waits(event: StripeEvent) -> str:
    """What to say of an event that a replay did not settle."""
    if event.state not in (StripeEvent.State.FAILED, StripeEvent.State.PARKED):
        return ""
    error = str(event.error or _("its customer is not known here")).rstrip(".")
    facts = {"state": event.get_state_display(), "error": error}
    return _("Worked on again, and it still waits. %(state)s: %(error)s.") % facts


class StripeEventTable(DeedTable):
    """The webhook inbox."""

    list_display = ("event_id", "type", "state", "attempts", "received_at", "handled_at")
    list_filter = ("state", "type")
    search_fields = ("event_id", "type", "object_id", "customer_id")
    ordering = ("-received_at",)
    deeds = (
        Deed(
            name="replay",
            title=_("Replay"),
            text=_("The object is fetched from Stripe afresh and what follows from it is derived again."),
            icon="replay",
            work=lambda by, row, form: services.webhook_replay(event_pk=row.pk, by=by),
            problem=_still_waits,
        ),
    )


OWN: dict[type[models.Model], type[ReadOnly]] = {
    **webhooks.TABLES,
    Tenant: TenantTable,
    EntitlementOverride: OverrideTable,
    Job: JobTable,
    Replica: ReplicaTable,
    Slot: SlotTable,
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
        list_filter=(ActorKind,),
        search_fields=("actor_label", "action", "target_id", "tenant__slug"),
    ),
    LedgerEntry: generic(
        LedgerEntry,
        list_display=("account", "amount_nano", "tenant", "transaction"),
        search_fields=("account", "tenant__slug", "transaction__key"),
    ),
    StaffAction: generic(
        StaffAction,
        list_display=("at", "actor_label", "action", "target_label", "reason", "ip"),
        search_fields=("actor_label", "action", "target_id", "target_label", "reason"),
    ),
}

OTHERS: dict[type[models.Model], type[ReadOnly]] = {
    EmailAddress: generic(EmailAddress, search_fields=("email",)),
    Authenticator: generic(
        Authenticator,
        hidden=frozenset({"data"}),
        list_display=("user", "type", "created_at", "last_used_at"),
        search_fields=("user__email",),
    ),
    UserSession: generic(
        UserSession,
        hidden=frozenset({"session_key", "data"}),
        list_display=("user", "ip", "user_agent", "created_at", "last_seen_at"),
        search_fields=("user__email", "ip"),
    ),
    Group: generic(Group),
}
"""Tables of libraries that tell something about people; their secrets stay out."""

register_all(staff, OWN)
for model, table in OTHERS.items():
    staff.register(model, table)
