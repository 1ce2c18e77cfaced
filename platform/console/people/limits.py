"""What one project may do of what the organisation may do: a page of four limits, each beside the plan's."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.selectors.budgets import budget_month, month_spent
from billing.selectors.limits import project_limits, spend_limit
from billing.selectors.subscriptions import entitlement_for
from billing.services.limits import project_limits_set
from console.fields import UsdField
from console.people.settings import SettingsView
from console.templatetags.look import count, usd


class LimitsForm(forms.Form):
    """The project's own limits; an empty field has none. Each field says what the plan allows."""

    requests_per_minute = forms.IntegerField(label=_("Requests per minute"), required=False, min_value=1)
    tokens_per_minute = forms.IntegerField(label=_("Tokens per minute"), required=False, min_value=1)
    concurrency = forms.IntegerField(label=_("Calls at the same time"), required=False, min_value=1)
    monthly_spend_nano = UsdField(label=_("Spend per month, USD"))

    def limits(self) -> dict[str, int]:
        """What was filled in."""
        return {name: value for name, value in self.cleaned_data.items() if value is not None}


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One limit as the page shows it: its field, what is set, and the most the plan allows."""

    field: forms.BoundField
    own: str
    most: str
    prefix: str = ""


class ProjectLimitsPage(SettingsView):
    """`/settings/projects/<id>/limits`: everybody sees why a call is refused, owners and admins change it."""

    required_scopes = {"GET": "usage.read", "POST": "tenant.write"}
    template_name = "console/people/project_limits.html"

    def get(self, request: HttpRequest, target: str) -> HttpResponseBase:
        """Show them."""
        project = self.target(target)
        return self.show(project, LimitsForm(initial=project_limits(project.pk)))

    def post(self, request: HttpRequest, target: str) -> HttpResponseBase:
        """Set them; the plan's limits are the most."""
        project, form = self.target(target), LimitsForm(request.POST)
        if form.is_valid():
            limits = form.limits()
            if self.attempt(form, lambda: project_limits_set(project=project, limits=limits)) is not None:
                said = _t("Limits saved. They hold within a few seconds.")
                return self.done(self.org_path("project_limits", project.public_id), said)
        return self.show(project, form, 422)

    def show(self, project: Any, form: LimitsForm, status: int = 200) -> HttpResponseBase:
        """The page around a form."""
        context = {
            "target": project,
            "form": form,
            "lines": self._lines(project, form),
            "crumbs": [{"label": _t("Settings"), "href": self.org_path("settings")}],
            "organisation_limit": spend_limit(),
            "budget": budget_month(project_id=project.pk),
            "spent": month_spent(project_id=project.pk),
            "may": self.can("tenant.write"),
        }
        return self.page(context, status=status)

    def _lines(self, project: Any, form: LimitsForm) -> list[LimitLine]:
        own, most = project_limits(project.pk), entitlement_for(self.tenant.pk).limits
        lines = [
            LimitLine(form[name], count(own[name]) if name in own else _t("as the plan"), count(getattr(most, name)))
            for name in ("requests_per_minute", "tokens_per_minute", "concurrency")
        ]
        name = "monthly_spend_nano"
        spend = usd(own[name]) if name in own else _t("as the organisation")
        return [*lines, LimitLine(form[name], spend, usd(most.monthly_spend_nano), prefix="$")]
