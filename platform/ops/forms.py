"""Forms of staff actions. Every one asks why."""

import datetime as dt
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.functional import lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing.plans import PlanLimits
from billing.plans.ladder import STEPS
from billing.selectors.subscriptions import plans_offered
from billing.services.credit_notes import BALANCE, CARD, OPEN
from kit.clock import now
from kit.ids import new_id
from kit.money import HOUSE, currency, parse_amount, without_sign, written
from ops.services import SHORTEST_REASON

LAST_YEAR = 2999


def _with_code(words: Any) -> str:
    return f"{words}, {currency().upper()}"


with_code = lazy(_with_code, str)
"""A label with the currency of the row that is acted on."""


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        label=_("Reason"),
        min_length=SHORTEST_REASON,
        max_length=300,
        help_text=_("Kept for ever in the staff log; where it concerns a customer, shown in their audit log too."),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )


class CreditForm(ReasonForm):
    """Credit, until the end of a day."""

    kind = forms.ChoiceField(
        label=_("Kind"),
        choices=[("promo", _("Promotion")), ("goodwill", _("Goodwill"))],
        widget=UnfoldAdminSelectWidget,
    )
    amount = forms.CharField(label=with_code(_("Amount")), max_length=20, widget=UnfoldAdminTextInputWidget)
    expires = forms.DateField(
        label=_("Until (UTC, inclusive)"), widget=UnfoldAdminTextInputWidget(attrs={"type": "date"})
    )
    once = forms.UUIDField(initial=new_id, widget=forms.HiddenInput)
    """Of this page: pressing the button twice gives the credit once."""
    field_order = ["kind", "amount", "expires", "reason"]

    def clean_amount(self) -> int:
        """Nano."""
        return _amount(self.cleaned_data["amount"])

    def clean_expires(self) -> dt.date:
        """A day that is not over, in a year people write."""
        day: dt.date = self.cleaned_data["expires"]
        if not now().date() <= day <= dt.date(LAST_YEAR, 12, 31):
            raise forms.ValidationError(_("Choose today or a later day."))
        return day

    def until(self) -> dt.datetime:
        """The end of the chosen day."""
        return dt.datetime.combine(self.cleaned_data["expires"], dt.time(), dt.UTC) + dt.timedelta(days=1)


class AccountForm(ReasonForm):
    """What may be owed."""

    most = forms.CharField(
        label=with_code(_("Most it may owe in a month")),
        required=False,
        max_length=20,
        help_text=_("0: calls stop when its credit is used. Empty: its spend limits alone hold."),
        widget=UnfoldAdminTextInputWidget,
    )
    field_order = ["most", "reason"]

    def clean_most(self) -> int | None:
        """Nano, or none."""
        text: str = self.cleaned_data["most"].strip()
        return _amount(text) if text else None


def _amount(text: str) -> int:
    try:
        return _parsed(text)
    except ValueError as error:
        told = _("Enter an amount of %(code)s, for example 50 or 12.50.") % {"code": currency().upper()}
        raise forms.ValidationError(told) from error


def _parsed(text: str) -> int:
    return parse_amount(_bare(text))


def _bare(text: str) -> str:
    """The amount without its organisation's own currency. ValidationError for another one's."""
    bare, code = without_sign(text)
    if code != currency():
        words = gettext("This organisation pays in %(here)s; the amount is in %(code)s.")
        raise forms.ValidationError(words % {"here": currency().upper(), "code": code.upper()})
    return bare


class SinceForm(ReasonForm):
    """Since when."""

    since = forms.DateTimeField(
        label=_("Since (UTC)"),
        help_text=_("What failed before is left as it is. Deliveries are kept for 30 days."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
    )
    field_order = ["since", "reason"]

    def clean_since(self) -> dt.datetime:
        """A moment that has been."""
        since: dt.datetime = self.cleaned_data["since"]
        if since > now():
            raise forms.ValidationError(_("Choose a moment that has been."))
        return since


class ReplayForm(ReasonForm):
    """Which events of the inbox."""

    since = forms.DateTimeField(
        label=_("Received since (UTC)"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
    )
    until = forms.DateTimeField(
        label=_("Received before (UTC)"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
    )
    kind = forms.RegexField(
        r"^[a-z_.]+$",
        label=_("Type"),
        required=False,
        max_length=100,
        help_text=_("Such as invoice.paid; with a dot at its end, all that begin so: invoice."),
        widget=UnfoldAdminTextInputWidget,
    )
    failed = forms.BooleanField(label=_("Only what failed or is parked"), required=False)
    field_order = ["since", "until", "kind", "failed", "reason"]

    def clean(self) -> dict[str, Any]:
        """Something must be chosen, and a span must not end before it begins."""
        found: dict[str, Any] = super().clean() or {}
        since, until = found.get("since"), found.get("until")
        if since and until and until <= since:
            self.add_error("until", _("The span ends before it begins."))
        return found


class HoldForm(ReasonForm):
    """How far overdue invoices may bring an organisation."""

    most = forms.ChoiceField(
        label=_("No further than"),
        required=False,
        choices=[(step, step.replace("_", " ") or _("nothing at all")) for step in STEPS[:-1]],
        widget=UnfoldAdminSelectWidget,
    )
    until = forms.DateTimeField(
        label=_("Until (UTC), or for good"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
    )
    field_order = ["most", "until", "reason"]


class CreditNoteForm(ReasonForm):
    """How much of an invoice is taken back, and where it goes."""

    amount = forms.DecimalField(
        label=_("Amount"), min_value=Decimal("0.01"), max_digits=12, decimal_places=2, widget=UnfoldAdminTextInputWidget
    )
    to = forms.ChoiceField(
        label=_("Where it goes"),
        choices=[
            (CARD, _("back to the card")),
            (BALANCE, _("to the balance, for the next invoices")),
            (OPEN, _("off what is still to pay")),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ["amount", "to", "reason"]

    def __init__(self, *args: Any, code: str = HOUSE, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].label = f"{_('Amount')}, {code.upper()}"


def _limit_names(present: PlanLimits | None) -> list[tuple[str, str]]:
    """Every limit, with what it is now."""
    names = PlanLimits.__dataclass_fields__
    return [
        ("", "–"),
        *((name, f"{name.replace('_', ' ').removesuffix(' nano')}{_now(present, name)}") for name in names),
    ]


def _now(present: PlanLimits | None, name: str) -> str:
    if present is None:
        return ""
    value = getattr(present, name)
    shown = written(value) if name.endswith("_nano") else f"{value:,}" if isinstance(value, int) else str(value)
    return f" (now {shown})"


class OverrideForm(ReasonForm):
    """One limit, or a granted plan, until a day or for good."""

    limit = forms.ChoiceField(label=_("Limit"), required=False, widget=UnfoldAdminSelectWidget)
    value = forms.CharField(
        label=_("New value"),
        required=False,
        max_length=40,
        help_text=_("A whole number; an amount for the monthly spend; a class name for the GPU class."),
        widget=UnfoldAdminTextInputWidget,
    )
    plan = forms.ChoiceField(label=_("Grant plan"), required=False, widget=UnfoldAdminSelectWidget)
    valid_until = forms.DateField(
        label=_("Until (UTC, inclusive)"),
        required=False,
        help_text=_("Empty: for good."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
    )
    field_order = ["limit", "value", "plan", "valid_until", "reason"]

    def __init__(self, *args: Any, present: PlanLimits | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plans = [("", "–"), *((plan.code, plan.name) for plan in plans_offered())]
        for name, choices in (("limit", _limit_names(present)), ("plan", plans)):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101
            field.choices = choices

    def clean(self) -> dict[str, Any]:
        """The limit's value in its own type."""
        data: dict[str, Any] = super().clean() or {}
        data["limits"] = {}
        name, text = data.get("limit"), (data.get("value") or "").strip()
        if not name and not data.get("plan"):
            raise forms.ValidationError(_("Choose a limit or a plan."))
        if name:
            try:
                data["limits"] = {name: _typed(name, text)}
            except forms.ValidationError as error:
                self.add_error("value", error)
            except ValueError:
                self.add_error("value", _("This is not a value of that limit."))
        return data

    def clean_valid_until(self) -> dt.date | None:
        """A day the calendar goes on after."""
        day: dt.date | None = self.cleaned_data["valid_until"]
        if day is not None and day.year > LAST_YEAR:
            raise forms.ValidationError(_("Choose a day before the year %(year)s.") % {"year": LAST_YEAR + 1})
        return day

    def until(self) -> dt.datetime | None:
        """The end of the chosen day."""
        day = self.cleaned_data.get("valid_until")
        return dt.datetime.combine(day, dt.time(), dt.UTC) + dt.timedelta(days=1) if day else None


def _typed(name: str, text: str) -> Any:
    if name == "gpu_class":
        return text
    if name.endswith("_nano"):
        return _parsed(text)
    return int(text)
