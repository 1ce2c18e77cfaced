"""API keys of a project: list, create (shown once), rotate with an overlap, revoke."""

import datetime as dt
import secrets
from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.selectors.budgets import budget_month
from billing.selectors.limit_use import scope_use
from billing.selectors.usage import UsageFilter, usage_events, usage_totals
from billing.services.limits import key_make
from billing.services.stores import quota_store
from console.code import Sample
from console.fields import AmountField, slow_field
from console.people.scopes import SCOPE_WORDS, choices, preset_of, scopes_of
from console.task_call import task_call
from console.views.base import ConsoleView
from kit.clock import now
from kit.errors import NotFound
from kit.ids import parse_id
from serving.models import Deployment
from serving.selectors import deployments
from tenants import selectors
from tenants.access import MONEY
from tenants.models import ApiKey, User
from tenants.services.keys import LIMIT_NAMES, key_of, key_revoke, key_rotate

MADE = "keys_made"
"""Session key: form tokens of creates already done, so that a reload makes no second key."""
LIVES = (
    ("never", _("Never")),
    ("7", _("In 7 days")),
    ("30", _("In 30 days")),
    ("90", _("In 90 days")),
    ("365", _("In a year")),
)
OVERLAPS = (
    ("0", _("At once")),
    ("1", _("After an hour")),
    ("24", _("After a day")),
    ("168", _("After 7 days")),
)
SOON = dt.timedelta(days=7)


class LimitsForm(forms.Form):
    """A key's name and its own limits; an empty field has none."""

    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("Where it is used, for example support-bot."))
    requests_per_minute = forms.IntegerField(
        label=_("Requests per minute"), required=False, min_value=1, max_value=10**9
    )
    tokens_per_minute = forms.IntegerField(label=_("Tokens per minute"), required=False, min_value=1, max_value=10**12)
    input_tokens_per_minute = forms.IntegerField(
        label=_("Input tokens per minute"), required=False, min_value=1, max_value=10**12
    )
    output_tokens_per_minute = forms.IntegerField(
        label=_("Output tokens per minute"), required=False, min_value=1, max_value=10**12
    )
    concurrency = forms.IntegerField(label=_("Calls at the same time"), required=False, min_value=1, max_value=10**9)
    monthly_spend = AmountField(label=_("Spend per month"))
    slow_from_percent = slow_field()
    api_names = {"monthly_spend_nano": "monthly_spend"}

    @property
    def detailed(self) -> bool:
        """Whether a folded part with the limits must be open: something in it is wrong."""
        return any(self.api_names.get(name, name) in self.errors for name in LIMIT_NAMES)

    def limits(self) -> dict[str, int]:
        """What was filled in, as the service takes it."""
        data = self.cleaned_data
        limits = {name: data[self.api_names.get(name, name)] for name in LIMIT_NAMES}
        return {name: value for name, value in limits.items() if value is not None}


class AccessForm(forms.Form):
    """What a key may do: a preset, or scopes one by one."""

    access = forms.ChoiceField(
        label=_("May"),
        initial="all",
        widget=forms.RadioSelect,
        choices=(
            ("all", _("Do everything in this project")),
            ("call", _("Call models, nothing else")),
            ("read", _("Read, change nothing")),
            ("chosen", _("Only what is chosen below")),
        ),
    )
    scopes = forms.MultipleChoiceField(label=_("Chosen"), required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, may: frozenset[str], **named: Any) -> None:
        super().__init__(*args, **named)
        self.fields["scopes"].choices = choices(may)  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """A choice of scopes needs one."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("access") == "chosen" and not data.get("scopes"):
            self.add_error("scopes", _("Choose at least one, or another option above."))
        return data


class KeyForm(AccessForm, LimitsForm):
    """A new key."""

    expires = forms.ChoiceField(label=_("Expires"), initial="never", choices=LIVES)

    def values(self) -> dict[str, Any]:
        """What the service takes."""
        data = self.cleaned_data
        days = data["expires"].removeprefix("never")
        return {
            "name": data["name"],
            "scopes": scopes_of(data["access"], data["scopes"]),
            "expires_at": now() + dt.timedelta(days=int(days)) if days else None,
            "limits": self.limits(),
        }


class RotateForm(forms.Form):
    """How long both keys work."""

    overlap = forms.ChoiceField(
        label=_("The old key stops working"), initial="24", widget=forms.RadioSelect, choices=OVERLAPS
    )


class KeysView(ConsoleView):
    """What the pages of keys share."""

    section = "keys"

    def key(self, text: str) -> ApiKey:
        """A key of this project; NotFound otherwise."""
        key = key_of(parse_id("key_", text))
        if key.project_id != self.project.pk:
            raise NotFound.of(text)
        return key

    def user(self) -> User:
        """Who asks."""
        assert isinstance(self.request.user, User)  # noqa: S101 - behind the console's door
        return self.request.user

    def hand_out(self, scopes: Iterable[str]) -> None:
        """PermissionDenied for a key to money that is made, or renewed, by somebody whose role has nothing to do with
        it: whoever makes a key has its secret."""
        for scope in sorted(MONEY.intersection(scopes)):
            self.auth.require(scope)

    def once(self) -> str | None:
        """The form's token if it is fresh; None when this form was sent before."""
        token = self.request.POST.get("once", "")
        return None if token in self.request.session.get(MADE, []) else token

    def show(self, key: ApiKey, plaintext: str, token: str, *, rotated: ApiKey | None = None) -> HttpResponseBase:
        """The one page that holds the secret; never cached, never stored."""
        self.request.session[MADE] = [*self.request.session.get(MADE, []), token][-20:]
        context = {"key": key, "plaintext": plaintext, "rotated": rotated, "samples": self.first_call()}
        response = self.page(context, template="console/people/key_made.html")
        response["Cache-Control"] = "no-store"
        return response

    def first_call(self) -> list[Sample]:
        """What to do with a new key: a call of the newest model that is served, where there is one."""
        live = deployments(self.project.pk).filter(state=Deployment.State.LIVE).first()
        if live is None:
            return []
        return task_call(settings.BASE_URL, model=live.alias or live.model.name, task=live.model.task)


def state_of(key: ApiKey) -> str:
    """active, expiring, expired or revoked."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    if key.expires_at <= now():
        return "expired"
    return "expiring" if key.expires_at <= now() + SOON else "active"


def use_of(key: ApiKey) -> dict[str, Any]:
    """What hangs on a key: its calls in the last hour, and its calls and cost this month."""
    moment = now()
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    recent = UsageFilter(since=moment - dt.timedelta(hours=1), until=moment, key_ids=[key.pk])
    month = usage_totals(wanted=UsageFilter(since=first, until=moment, key_ids=[key.pk]))
    calls = usage_events(wanted=recent).aggregate(n=Sum("requests"))["n"] or 0
    return {"calls_last_hour": int(calls), "month": month}


class KeysPage(KeysView):
    """The project's keys."""

    required_scopes = {"GET": "keys.read"}
    template_name = "console/people/keys.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Open ones first; closed ones folded away."""
        rows = [
            (key, state_of(key), preset_of(key.scopes) == "all")
            for key in selectors.keys(self.project).select_related("created_by")
        ]
        context = {
            "alive": [row for row in rows if row[1] in ("active", "expiring")],
            "closed": [row for row in rows if row[1] in ("expired", "revoked")],
            "may": self.can("keys.write"),
        }
        return self.page(context)


class NewKey(KeysView):
    """Create a key."""

    required_scopes = {"GET": "keys.write", "POST": "keys.write"}
    template_name = "console/people/key_new.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form."""
        return self._form(KeyForm(may=self.auth.scopes))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Make it and show it once."""
        form, token = KeyForm(request.POST, may=self.auth.scopes), self.once()
        if token is None:
            return self.done(self.project_path("keys"), _t("This key was made already. It is not shown again."))
        if form.is_valid():
            values = form.values()
            made = self.attempt(form, lambda: self._make(values))
            if made is not None:
                return self.show(*made, token)
        return self._form(form, 422)

    def _make(self, values: dict[str, Any]) -> tuple[ApiKey, str]:
        self.hand_out(values["scopes"])
        return key_make(project=self.project, created_by=self.user(), **values)

    def _form(self, form: KeyForm, status: int = 200) -> HttpResponseBase:
        return self.page({"form": form, "once": secrets.token_urlsafe(12)}, status=status)


class KeyPage(KeysView):
    """One key: what it may do, its limits, its past."""

    required_scopes = {"GET": "keys.read"}
    template_name = "console/people/key.html"

    def get(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Show it."""
        row = self.key(key)
        successor = selectors.key_successor(row)
        context = {
            "key": row,
            "state": state_of(row),
            "scopes_in_words": [SCOPE_WORDS[scope] for scope in row.scopes if scope in SCOPE_WORDS],
            "everything": preset_of(row.scopes) == "all",
            "lacks": [words for scope, words in SCOPE_WORDS.items() if scope not in row.scopes],
            "may_grant": self.can("keys.grant"),
            "successor": successor,
            "may": self.can("keys.write"),
            "budget": budget_month(key_id=row.pk),
            "other_limits": other_limits(row),
            **use_of(row),
        }
        return self.page(context)


def other_limits(key: ApiKey) -> list[tuple[Any, int, int | None]]:
    """Limits that few keys have: (label, most, used now) of those that are set."""
    uses = scope_use("key", key.pk, key.limits, quota_store())
    shown = {"input_tokens_per_minute": "input_tokens", "output_tokens_per_minute": "output_tokens"}
    return [
        (LimitsForm.base_fields[name].label, key.limits[name], uses[kind].used if kind in uses else None)
        for name, kind in {**shown, "concurrency": "concurrency"}.items()
        if name in key.limits
    ]


class RotateKey(KeysView):
    """A successor, and a chosen end for the old key."""

    required_scopes = {"GET": "keys.write", "POST": "keys.write"}
    template_name = "console/people/key_rotate.html"

    def get(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Ask for the overlap."""
        return self._ask(self.key(key), RotateForm())

    def post(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Make the successor and show it once."""
        row, form, token = self.key(key), RotateForm(request.POST), self.once()
        if state_of(row) in ("revoked", "expired"):
            return redirect(self.project_path("key", row.public_id))
        if token is None:
            return self.done(self.project_path("keys"), _t("This key was rotated already. It is not shown again."))
        if form.is_valid():
            overlap = dt.timedelta(hours=int(form.cleaned_data["overlap"]))
            made = self.attempt(form, lambda: self._rotate(row, overlap))
            if made is not None:
                return self.show(*made, token, rotated=row)
        return self._ask(row, form, 422)

    def _rotate(self, row: ApiKey, overlap: dt.timedelta) -> tuple[ApiKey, str]:
        self.hand_out(row.scopes)
        made = key_rotate(key=row, overlap=overlap, by=self.user())
        self.hand_out(made[0].scopes)  # as they are under the lock: somebody may have granted more meanwhile
        return made

    def _ask(self, row: ApiKey, form: RotateForm, status: int = 200) -> HttpResponseBase:
        return self.page({"key": row, "form": form, "once": secrets.token_urlsafe(12)}, status=status)


class RevokeKey(KeysView):
    """Close a key for good; the page without script, the dialog's target with it."""

    required_scopes = {"GET": "keys.write", "POST": "keys.write"}
    template_name = "console/people/key_revoke.html"

    def get(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Ask."""
        row = self.key(key)
        return self.page({"key": row, **use_of(row)})

    def post(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Do it."""
        row = self.key(key)
        key_revoke(key=row)
        done = _t("%(name)s is revoked. Calls with it fail within 5 seconds.") % {"name": row.name}
        return self.done(self.project_path("keys"), done)
