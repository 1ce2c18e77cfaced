"""Organisations and what they may do, as staff see them: suspend, look as a customer does, override a quota."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Model, Q, QuerySet, Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from billing.models import EntitlementOverride, UsageHour
from billing.prices import price_books
from billing.selectors.subscriptions import entitlement_for
from kit.clock import now
from kit.money import written
from ops import services
from ops.deeds import Deed, DeedTable
from ops.forms import AccountForm, CreditForm, HoldForm, OverrideForm
from ops.tables import ReadOnly
from tenants import visiting
from tenants.models import ApiKey, Member, Tenant, Visit
from training.models import Job

SHOWN = 20
"""Members on an organisation's page."""


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


class PaysIn(admin.SimpleListFilter):
    """What an organisation pays in, among what something is sold in; not shown where that is one."""

    title = _("currency")
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Those that have prices."""
        sold = price_books().currencies(int(now().timestamp() * 1000))
        return [(code, code.upper()) for code in sold] if len(sold) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Only those that pay in it."""
        known = dict(self.lookup_choices)
        return queryset.filter(currency=self.value()) if self.value() in known else queryset


class TenantTable(DeedTable):
    """Organisations."""

    list_display = ("name", "slug", "status", "pays_in", "created_at")
    list_filter = ("status", PaysIn)
    search_fields = ("name", "slug")
    ordering = ("-created_at",)
    only = (
        *("name", "public_id", "slug", "status", "pays_in", "created_at"),
        *("plan", "people", "jobs", "keys", "spent", "more"),
    )
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
            name="hold",
            title=_("Hold dunning"),
            text=_("Overdue invoices bring it no further than this. What was taken is given back at once."),
            icon="pan_tool",
            form=HoldForm,
            work=lambda by, row, form: services.dunning_hold(
                tenant_id=row.pk, most=form.cleaned_data["most"], until=form.cleaned_data["until"], by=by
            ),
        ),
        Deed(
            name="credit",
            title=_("Give credit"),
            text=_("It is used before the month's allowance and bought credit, what ends first before the rest."),
            icon="redeem",
            form=CreditForm,
            offered=lambda row: row.status != Tenant.Status.ERASED,
            work=lambda by, row, form: services.credit_give(
                tenant_id=row.pk,
                by=by,
                kind=form.cleaned_data["kind"],
                amount_nano=form.cleaned_data["amount"],
                expires_at=form.until(),
                once=form.cleaned_data["once"],
            ),
        ),
        Deed(
            name="account",
            title=_("Limit what it may owe"),
            text=_("Beyond its credit and what its plan includes. Calls and jobs above it are refused with 402."),
            icon="account_balance_wallet",
            form=AccountForm,
            work=lambda by, row, form: services.account_limit(
                tenant_id=row.pk, by=by, most_nano=form.cleaned_data["most"]
            ),
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
        return written(UsageHour.ops.filter(tenant=row, hour__gte=first).aggregate(n=Sum("cost_nano"))["n"] or 0)

    @admin.display(description=_("Currency"), ordering="currency")
    def pays_in(self, row: Tenant) -> str:
        """As people write it."""
        return row.currency.upper()

    @admin.display(description=_("More"))
    def more(self, row: Tenant) -> str:
        """Its page for those who look after it, and its rows in the tables staff look at next."""
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
        links = [(reverse("admin:customer", args=[row.pk]), _("Customer"))]
        links += [(f"{reverse(f'admin:{name}_changelist')}?q={row.slug}", label) for label, name in places]
        return format_html_join(" · ", '<a href="{}" class="text-primary-600 dark:text-primary-400">{}</a>', links)


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


TABLES: dict[type[Model], type[ReadOnly]] = {
    Tenant: TenantTable,
    EntitlementOverride: OverrideTable,
}
