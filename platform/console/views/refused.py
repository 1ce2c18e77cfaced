"""Why was I blocked? Every call and job that a limit refused: whose limit, what it asked for, what was left, what
helps."""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.models import QuotaDecision
from billing.prices import TRAINING
from billing.selectors.decisions import DecisionFilter, decisions
from billing.selectors.limits import model_limits_row
from console import usage_page
from console.paging import page_number, page_of
from console.templatetags.look import count, duration, money
from console.views.base import ConsoleView
from kit.ids import parse_id, public_id
from tenants import selectors
from tenants.models import Member

LAYERS = {
    "tenant": _("Organisation"),
    "wallet": _("Wallet"),
    "project": _("Project"),
    "member": _("Member"),
    "key": _("API key"),
    "model": _("Model"),
    "platform": _("Quota service"),
}
REASONS = {
    "rate": _("too much in a minute"),
    "concurrency": _("too many at once"),
    "too_large": _("larger than the limit itself"),
    "spend": _("the month's money is used up"),
    "lease": _("the month's money is used up"),
    "away": _("the quota service did not answer"),
    "plan": _("the plan does not include it"),
}
LIMITS: dict[str, Any] = {
    "requests": _("%(cap)s requests a minute"),
    "tokens": _("%(cap)s tokens a minute"),
    "input_tokens": _("%(cap)s input tokens a minute"),
    "output_tokens": _("%(cap)s output tokens a minute"),
    "concurrency": _("%(cap)s calls at once"),
    "spend": _("%(cap)s a month"),
    "queued_jobs": _("%(cap)s jobs that wait"),
    "open_sweeps": _("%(cap)s open sweeps"),
    "parallel_jobs": _("%(cap)s jobs at once"),
    "train_rows": _("%(cap)s rows to train on"),
    "plan": _("the plan"),
}


class FilterForm(forms.Form):
    """What to show."""

    request = forms.CharField(label=_("Request or job id"), required=False, max_length=80)
    layer = forms.ChoiceField(label=_("Whose limit"), required=False, choices=[("", _("all")), *LAYERS.items()])
    key = forms.ChoiceField(label=_("Key"), required=False)
    model = forms.CharField(label=_("Model"), required=False, max_length=200)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, keys: list[tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["key"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101
        field.choices = [("", _("all")), *((public_id("key_", UUID(hex=one)), name) for one, name in keys)]

    def wanted(self) -> DecisionFilter:
        """For the selector; a filter that cannot be read filters nothing and is shown as wrong."""
        self.full_clean()
        values = self.cleaned_data
        key = values.get("key")
        return DecisionFilter(
            since=_midnight(values.get("since")),
            until=_midnight(values.get("until"), days=1),
            key_id=parse_id("key_", key) if key else None,
            model=values.get("model", ""),
            layer=values.get("layer", ""),
            request_id=values.get("request", "").strip(),
        )


def _midnight(day: dt.date | None, *, days: int = 0) -> dt.datetime | None:
    if day is None or day.year > 9000:
        return None
    return dt.datetime.combine(day, dt.time(), dt.UTC) + dt.timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Row:
    """One refusal in words."""

    decision: QuotaDecision
    key: str
    whose: str
    layer: Any
    """Which kind of thing that is."""
    limit: str
    asked: str
    left: str
    reason: Any
    wait: str
    job: bool
    more: int
    """Calls it stands for beside the one whose id is shown."""
    change: str
    """Where the limit is changed; empty where it cannot be."""


class Refused(ConsoleView):
    """`/usage/refused`."""

    section = "usage"
    required_scopes = {"GET": "usage.read"}
    template_name = "console/refused.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """One page of it."""
        self.names = usage_page.Names.of_scope()
        form = FilterForm(request.GET, keys=self.names.keys)
        page = page_of(decisions(form.wanted()), page_number(request.GET.get("page")))
        context = {
            "form": form,
            "page": page,
            "rows": [self._row(one) for one in page.rows],
            "filtered": any(request.GET.get(name) for name in form.fields),
            "usage_url": self.org_path("usage"),
        }
        return self.page(context)

    def _row(self, one: QuotaDecision) -> Row:
        spends = one.limit_kind == "spend"
        amount = money if spends else count
        whose, change = self._whose(one)
        return Row(
            decision=one,
            key=self.names.key(one.key_id, one.kind),
            whose=whose,
            layer=LAYERS.get(one.layer, ""),
            limit=self._limit(one, amount(one.cap)),
            asked=amount(one.asked),
            left="" if one.remaining is None else amount(one.remaining),
            reason=REASONS.get(one.reason, one.reason),
            wait="" if one.wait_ms is None else duration(max(1, -(-one.wait_ms // 1000))),
            job=one.kind in TRAINING,
            more=one.refused - 1,
            change=change,
        )

    @staticmethod
    def _limit(one: QuotaDecision, cap: str) -> str:
        if one.layer == "platform":
            return ""
        return (
            _t("%(cap)s of credit") % {"cap": cap}
            if one.layer == "wallet"
            else str(LIMITS[one.limit_kind]) % {"cap": cap}
        )

    def _whose(self, one: QuotaDecision) -> tuple[str, str]:
        """Whose limit it was, and where it is changed."""
        if one.layer in ("tenant", "wallet"):
            return self.tenant.name, self.org_path("billing") if self.can("billing.read") else ""
        if one.layer == "project":
            name = self.names.projects.get(one.project_id, "")
            path = self.org_path("project_limits", public_id("proj_", one.project_id)) if name else ""
            return name or _t("a project that is archived"), path
        if one.layer == "member":
            return self._member(UUID(hex=one.scope_id))
        project = next((p for p in selectors.projects() if p.pk == one.project_id), None)
        if one.layer == "key":
            path = self._in_project("key", project, public_id("key_", one.key_id)) if one.key_id else ""
            return self.names.key(one.key_id, one.kind), path
        row = model_limits_row(UUID(hex=one.scope_id)) if one.layer == "model" else None
        if row is not None and project is not None:
            return row.model, self._in_project("model_limit", project, row.model)
        return (one.model, "") if one.layer == "model" else (str(LAYERS["platform"]), "")

    def _in_project(self, name: str, project: Any, *args: Any) -> str:
        return reverse(f"console:{name}", args=[self.tenant.slug, project.slug, *args]) if project is not None else ""

    def _member(self, user_id: UUID) -> tuple[str, str]:
        row: Member | None = selectors.members().filter(user_id=user_id).first()
        if row is None:
            return _t("a member who has left"), ""
        return row.user.get_full_name(), self.org_path("member_limits", row.public_id)
