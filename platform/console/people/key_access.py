"""What a key in use may do: other scopes, the same secret. For owners and admins alone, since whoever holds the secret
gains or loses by it at once, without a word from those who hold it.
"""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _t

from console.people.keys import AccessForm, KeysView, use_of
from console.people.scopes import preset_of, scopes_of
from tenants.models import ApiKey
from tenants.services.keys import key_scopes_set


class KeyAccess(KeysView):
    """`/keys/<id>/access`: what it may do, as the form of a new key asks it."""

    required_scopes = {"GET": "keys.grant", "POST": "keys.grant"}
    template_name = "console/people/key_access.html"

    def get(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """The form as the key stands."""
        row = self.key(key)
        initial = {"access": preset_of(row.scopes), "scopes": row.scopes}
        return self._ask(row, AccessForm(initial=initial, may=self.auth.scopes))

    def post(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Change it; it holds at the gateways within seconds."""
        row, form = self.key(key), AccessForm(request.POST, may=self.auth.scopes)
        if form.is_valid():
            scopes = scopes_of(form.cleaned_data["access"], form.cleaned_data["scopes"])
            if self.attempt(form, lambda: key_scopes_set(key=row, scopes=scopes)) is not None:
                said = _t("Key saved. What it may do holds within 5 seconds.")
                return self.done(self.project_path("key", row.public_id), said)
        return self._ask(self.key(key), form, 422)

    def _ask(self, row: ApiKey, form: AccessForm, status: int = 200) -> HttpResponseBase:
        return self.page({"key": row, "form": form, **use_of(row)}, status=status)
