"""Changing a key that is in use: its name and its own limits. What it may do has a page of its own (`key_access`);
until when it works stays as it was made.
"""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _t

from billing.selectors.subscriptions import entitlement_for
from billing.services.limits import key_limits_set
from console.people.keys import KeysView, LimitsForm, state_of, use_of
from tenants.models import ApiKey


class ChangeKey(KeysView):
    """`/keys/<id>/change`: every field beside what the plan allows."""

    required_scopes = {"GET": "keys.write", "POST": "keys.write"}
    template_name = "console/people/key_change.html"

    def get(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """The form as the key stands."""
        row = self.key(key)
        initial = {**row.limits, "monthly_spend": row.limits.get("monthly_spend_nano"), "name": row.name}
        return self._ask(row, LimitsForm(initial=initial))

    def post(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Change it; its calls are held to the new limits within seconds."""
        row, form = self.key(key), LimitsForm(request.POST)
        if form.is_valid():
            name, limits = form.cleaned_data["name"], form.limits()
            if self.attempt(form, lambda: key_limits_set(key=row, name=name, limits=limits)) is not None:
                said = _t("Key saved. Its limits hold within a few seconds.")
                return self.done(self.project_path("key", row.public_id), said)
        return self._ask(self.key(key), form, 422)

    def _ask(self, row: ApiKey, form: LimitsForm, status: int = 200) -> HttpResponseBase:
        context = {
            "key": row,
            "state": state_of(row),
            "form": form,
            "most": entitlement_for(self.tenant.pk).limits,
            **use_of(row),
        }
        return self.page(context, status=status)
