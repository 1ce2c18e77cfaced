"""What one project, member or model may do of what the organisation may do: a page of limits for each, beside the
plan's and with what is used of them now. A key's stand on its own page (`key_change`)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.periods import bounds, month_of
from billing.selectors.budgets import budget_month, month_spent, spent_nano
from billing.selectors.limit_use import LimitUse, scope_use
from billing.selectors.limits import member_limits, model_limits_of, project_limits, spend_limit
from billing.selectors.subscriptions import entitlement_for
from billing.selectors.usage import UsageFilter, usage_totals
from billing.services.limits import member_limits_set, model_limits_set, project_limits_set
from billing.services.stores import quota_store
from console.fields import AmountField, slow_field
from console.people.settings import SettingsView
from console.templatetags.look import count, money
from console.views.base import ConsoleView
from kit.clock import now
from kit.errors import NotFound
from kit.ids import parse_id
from registry import selectors as registry
from tenants.models import Member
from tenants.services.organisations import member_of

KINDS = {
    "requests_per_minute": "requests",
    "tokens_per_minute": "tokens",
    "input_tokens_per_minute": "input_tokens",
    "output_tokens_per_minute": "output_tokens",
    "concurrency": "concurrency",
    "monthly_spend_nano": "spend",
}
"""What each field limits."""
PLANS = {"input_tokens_per_minute": "tokens_per_minute", "output_tokens_per_minute": "tokens_per_minute"}
"""The plan's limit beside a field, where it is called otherwise."""


class LimitsForm(forms.Form):
    """Own limits; an empty field has none. Each field says what the plan allows."""

    requests_per_minute = forms.IntegerField(label=_("Requests per minute"), required=False, min_value=1)
    tokens_per_minute = forms.IntegerField(label=_("Tokens per minute"), required=False, min_value=1)
    input_tokens_per_minute = forms.IntegerField(label=_("Input tokens per minute"), required=False, min_value=1)
    output_tokens_per_minute = forms.IntegerField(label=_("Output tokens per minute"), required=False, min_value=1)
    concurrency = forms.IntegerField(label=_("Calls at the same time"), required=False, min_value=1)
    monthly_spend_nano = AmountField(label=_("Spend per month"))
    slow_from_percent = slow_field()

    def limits(self) -> dict[str, int]:
        """What was filled in."""
        return {name: value for name, value in self.cleaned_data.items() if value is not None}


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One limit as the page shows it: its field, what is set, the most the plan allows, and what is used now."""

    field: forms.BoundField
    own: str
    most: str
    used: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose limits a page is about, and the words around them."""

    heading: str
    intro: str
    covers: str
    limits: dict[str, int]
    scope: str
    scope_id: UUID | None
    save: Callable[[dict[str, int]], Any]
    path: str
    back: str
    spent: int = 0
    public_id: str = ""
    crumbs: list[dict[str, str]] = field(default_factory=list)


class LimitsMixin(ConsoleView):
    """What the pages of limits share; they hand it a `Holder`."""

    template_name = "console/people/limits.html"

    def answer(self, holder: Holder) -> HttpResponseBase:
        """Show the limits, or set what was sent."""
        if self.request.method != "POST":
            return self.show(holder, LimitsForm(initial=holder.limits))
        form = LimitsForm(self.request.POST)
        if form.is_valid():
            limits = form.limits()
            if self.attempt(form, lambda: holder.save(limits)) is not None:
                return self.done(holder.path, _t("Limits saved. They hold within a few seconds."))
        return self.show(holder, form, 422)

    def show(self, holder: Holder, form: LimitsForm, status: int = 200) -> HttpResponseBase:
        """The page around a form."""
        scope, scope_id = holder.scope, holder.scope_id
        context = {
            "holder": holder,
            "form": form,
            "lines": self._lines(holder, form),
            "organisation_limit": spend_limit(),
            "budget": budget_month(scope=scope, scope_id=scope_id.hex) if scope_id is not None else None,
            "may": self.can("tenant.write"),
        }
        return self.page(context, status=status)

    def _lines(self, holder: Holder, form: LimitsForm) -> list[LimitLine]:
        own, most = holder.limits, entitlement_for(self.tenant.pk).limits
        uses = scope_use(holder.scope, holder.scope_id, own, quota_store()) if holder.scope_id is not None else {}
        lines = []
        for name, kind in KINDS.items():
            plans = getattr(most, PLANS.get(name, name))
            if kind == "spend":
                shown = money(own[name]) if name in own else _t("as the organisation")
                lines.append(LimitLine(form[name], shown, money(plans)))
            else:
                shown = count(own[name]) if name in own else _t("as the plan")
                lines.append(LimitLine(form[name], shown, count(plans), _used(uses.get(kind))))
        slow = f"{own['slow_from_percent']}%" if "slow_from_percent" in own else _t("never")
        return [*lines, LimitLine(form["slow_from_percent"], slow, "")]


def _used(use: LimitUse | None) -> str:
    """What is used of a limit now, in words; nothing where there is none or nobody knows."""
    if use is None or use.used is None:
        return ""
    if use.limit.kind == "concurrency":
        return _t("%(n)s running now.") % {"n": count(use.used)}
    return _t("%(n)s used this minute.") % {"n": count(use.used)}


def spent_this_month(scope: str, scope_id: UUID) -> int:
    """What a scope has cost this month, limit or none."""
    return spent_nano(scope, scope_id.hex, *bounds(month_of(now())))


class ProjectLimitsPage(SettingsView, LimitsMixin):
    """`/settings/projects/<id>/limits`: everybody sees why a call is refused, owners and admins change it."""

    required_scopes = {"GET": "usage.read", "POST": "tenant.write"}
    template_name = LimitsMixin.template_name

    def get(self, request: HttpRequest, target: str) -> HttpResponseBase:
        """Show or set them."""
        project = self.target(target)
        settings = self.org_path("settings")
        return self.answer(
            Holder(
                heading=_t("Limits of %(name)s") % {"name": project.name},
                intro=_t("For all keys of this project together, beside the limits of your plan."),
                covers=_t("Calls, the playground, training jobs and storage of this project; months are UTC."),
                limits=project_limits(project.pk),
                scope="project",
                scope_id=project.pk,
                save=lambda limits: project_limits_set(project=project, limits=limits),
                path=self.org_path("project_limits", project.public_id),
                back=settings,
                spent=month_spent(project_id=project.pk),
                public_id=project.public_id,
                crumbs=[{"label": _t("Settings"), "href": settings}],
            )
        )

    post = get


class MemberLimitsPage(LimitsMixin):
    """`/members/<id>/limits`: what the keys that one member made may do together."""

    section = "members"
    required_scopes = {"GET": "members.read", "POST": "tenant.write"}

    def get(self, request: HttpRequest, member: str) -> HttpResponseBase:
        """Show or set them."""
        row: Member = member_of(parse_id("mem_", member))
        members = self.org_path("members")
        return self.answer(
            Holder(
                heading=_t("Limits of %(name)s") % {"name": row.user.get_full_name()},
                intro=_t("For all keys this member made, in every project, together."),
                covers=_t("Calls and jobs with this member's keys; months are UTC."),
                limits=member_limits(row.user_id),
                scope="member",
                scope_id=row.user_id,
                save=lambda limits: member_limits_set(member=row, limits=limits),
                path=self.org_path("member_limits", row.public_id),
                back=members,
                spent=spent_this_month("member", row.user_id),
                public_id=row.public_id,
                crumbs=[{"label": _t("Members"), "href": members}],
            )
        )

    post = get


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model in the list: what it may do, in words."""

    name: str
    href: str
    limits: str


class ModelLimitsList(ConsoleView):
    """`/p/<project>/limits`: the project's models, those with limits first."""

    section = "models"
    required_scopes = {"GET": "usage.read"}
    template_name = "console/people/model_limits.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them."""
        limits = model_limits_of(self.project.pk)
        rows = [
            ModelRow(
                name, self.project_path("model_limit", name), in_words(limits[name].limits) if name in limits else ""
            )
            for name in [*limits, *(name for name in model_names(self.project.pk) if name not in limits)]
        ]
        return self.page({"rows": rows, "may": self.can("tenant.write")})


class ModelLimitsPage(LimitsMixin):
    """`/p/<project>/limits/<model>`: what all calls of one model in the project may do together."""

    section = "models"
    required_scopes = {"GET": "usage.read", "POST": "tenant.write"}

    def get(self, request: HttpRequest, model: str) -> HttpResponseBase:
        """Show or set them."""
        known = model_limits_of(self.project.pk, lifted=True)
        if model not in known and model not in model_names(self.project.pk):
            raise NotFound.of(model)
        row, listing = known.get(model), self.project_path("model_limits")
        moment = now()
        month = UsageFilter(
            since=bounds(month_of(moment))[0], until=moment, project_ids=[self.project.pk], models=[model]
        )
        return self.answer(
            Holder(
                heading=_t("Limits of %(name)s") % {"name": model},
                intro=_t("For all calls of this model in %(name)s together, whatever their key.")
                % {"name": self.project.name},
                covers=_t("Calls of this model in this project, training not counted; months are UTC."),
                limits=dict(row.limits) if row is not None else {},
                scope="model",
                scope_id=row.pk if row is not None else None,
                save=lambda limits: model_limits_set(project=self.project, model=model, limits=limits),
                path=self.project_path("model_limit", model),
                back=listing,
                spent=spent_this_month("model", row.pk) if row is not None else usage_totals(wanted=month).cost_nano,
                crumbs=[
                    {"label": _t("Models"), "href": self.project_path("models")},
                    {"label": _t("Limits"), "href": listing},
                ],
            )
        )

    post = get


def model_names(project_id: UUID) -> list[str]:
    """Names that calls of a project are metered under: its models, then the bases."""
    own = list(registry.models(project_id).values_list("name", flat=True))
    return [*own, *(base.name for base in registry.bases())]


def in_words(limits: dict[str, int]) -> str:
    """Limits in a line."""
    words = {
        "requests_per_minute": _t("%(n)s requests a minute"),
        "tokens_per_minute": _t("%(n)s tokens a minute"),
        "input_tokens_per_minute": _t("%(n)s input tokens a minute"),
        "output_tokens_per_minute": _t("%(n)s output tokens a minute"),
        "concurrency": _t("%(n)s calls at once"),
        "monthly_spend_nano": _t("%(n)s a month"),
        "slow_from_percent": _t("slowed from %(n)s%%"),
    }
    said = {name: money(value) if name == "monthly_spend_nano" else count(value) for name, value in limits.items()}
    return " · ".join(words[name] % {"n": said[name]} for name in words if name in limits)
