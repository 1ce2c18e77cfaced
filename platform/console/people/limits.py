"""What one project may do of what the organisation may do: a page of four limits, each beside the plan's."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.plans import plan_book
from billing.selectors.budgets import budget_month, month_spent
from billing.selectors.limits import project_limits, spend_limit
from billing.selectors.subscriptions import entitlement_for
from billing.services.limits import project_limits_set
from console.fields import UsdField
from console.people.settings import SettingsView


class LimitsForm(forms.Form):
    """The project's own limits; an empty field has none. Each field says what the plan allows."""

    requests_per_minute = forms.IntegerField(label=_("Requests per minute"), required=False, min_value=1)
    tokens_per_minute = forms.IntegerField(label=_("Tokens per minute"), required=False, min_value=1)
    concurrency = forms.IntegerField(label=_("Calls at the same time"), required=False, min_value=1)
    monthly_spend_nano = UsdField(label=_("Spend per month, USD"))

    def limits(self) -> dict[str, int]:
        """What was filled in."""
        return {name: value for name, value in self.cleaned_data.items() if value is not None}


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
        entitlement = entitlement_for(self.tenant.pk)
        context = {
            "target": project,
            "form": form,
            "plan": plan_book().get(entitlement.plan, entitlement.plan_version),
            "most": entitlement.limits,
            "organisation_limit": spend_limit(),
            "limits": project_limits(project.pk),
            "budget": budget_month(project_id=project.pk),
            "spent": month_spent(project_id=project.pk),
            "may": self.can("tenant.write"),
        }
        return self.page(context, status=status)
