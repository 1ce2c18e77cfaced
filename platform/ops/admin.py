"""Tables with something to do or more to tell than their columns, all of them; the larger ones have a module to each
subject. Every other table of every room is read-only and made from its fields (`ops.tables`)."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from billing.models import LedgerEntry, StripeEvent
from ops import (
    contracts,
    credits,
    deployments,
    jobs,
    orders,
    organisations,
    planning,
    quotes,
    services,
    stripe_tables,
    webhooks,
)
from ops.deeds import Deed, DeedTable
from ops.models import Scenario, StaffAction
from ops.site import staff
from ops.tables import ReadOnly, generic, register_all
from serving.models import Replica
from tenants.models import AuditEvent, User


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


class ScenarioTable(DeedTable):
    """Plans that staff keep."""

    list_display = ("name", "created_by", "created_at")
    search_fields = ("name", "created_by")
    ordering = ("-created_at",)
    deeds = (
        Deed(
            name="remove",
            title=_("Remove"),
            text=_("The scenario is gone from the planner and from comparisons; its inputs stay in the staff log."),
            icon="delete",
            work=lambda by, row, form: planning.scenario_remove(scenario_id=row.pk, by=by),
            leads_to=lambda request, row, made: redirect("admin:scenarios"),
        ),
    )


OWN: dict[type[models.Model], type[ReadOnly]] = {
    **organisations.TABLES,
    **jobs.TABLES,
    **deployments.TABLES,
    **webhooks.TABLES,
    **stripe_tables.TABLES,
    **credits.TABLES,
    **orders.TABLES,
    **quotes.TABLES,
    **contracts.TABLES,
    Replica: ReplicaTable,
    Scenario: ScenarioTable,
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
