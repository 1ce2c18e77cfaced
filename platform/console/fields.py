"""Form fields the console needs and Django lacks, and those that several forms share."""

import re
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console import currencies
from kit.money import NANO, currency, parse_amount, without_sign
from registry import names
from training.serializers import LONGEST_SUFFIX, MOST_GPUS

AMOUNT = re.compile(r"(\d+|\d{1,3}(,\d{3})+)(\.\d+)?", re.ASCII)
"""Commas stand between thousands and nowhere else: 12,50 may mean 12.50, and must not become 1250."""


class InCurrency:
    """A field for an amount in the currency that holds where its form is shown."""

    label: Any

    @property
    def prefix(self) -> str:
        """What stands before its input."""
        return currencies.symbol()

    def refusal(self) -> str:
        """What to enter."""
        name = currencies.name(currency())
        return gettext("Enter an amount in %(currency)s, for example 50 or 12.50.") % {"currency": name}

    def digits(self, text: str) -> str:
        """The amount without its currency. ValidationError for another one's."""
        bare, code = without_sign(text)
        if code != currency():
            words = gettext("Amounts here are in %(own)s, not in %(other)s. %(do)s")
            names = {"own": currencies.name(currency()), "other": currencies.name(code), "do": self.refusal()}
            raise forms.ValidationError(words % names, code="currency")
        return bare


class AmountField(InCurrency, forms.CharField):
    """An amount of money as people write it; clean to nano, and to None when empty."""

    def __init__(self, *, label: Any, **options: Any) -> None:
        super().__init__(**{"label": currencies.with_code_lazy(label), "max_length": 20, "required": False, **options})

    def clean(self, value: Any) -> Any:
        """Nano of the text; exact."""
        text = super().clean(value).strip()
        if not text:
            return None
        text = self.digits(text)
        try:
            if AMOUNT.fullmatch(text) is None:
                raise ValueError("not an amount")
            return parse_amount(text.replace(",", ""))
        except ValueError as error:
            raise forms.ValidationError(self.refusal(), code="amount") from error

    def prepare_value(self, value: Any) -> Any:
        """Nano as it would be typed: whole ones, cents, or as many digits as it has."""
        if not isinstance(value, int):
            return value
        whole, rest = divmod(value, NANO)
        digits = f"{rest:09}".rstrip("0")
        return f"{whole}.{digits.ljust(2, '0')}" if digits else str(whole)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """A keyboard with a decimal point."""
        return {**super().widget_attrs(widget), "inputmode": "decimal", "autocomplete": "off"}


class WholeField(forms.IntegerField):
    """A whole number, refused in words that say what to enter."""

    default_error_messages = {
        "invalid": _("Enter a whole number."),
        "min_value": _("Enter %(limit_value)s or more."),
        "max_value": _("Enter %(limit_value)s at most."),
    }


def slow_field() -> forms.IntegerField:
    """From which share of a spend limit on calls are slowed."""
    return forms.IntegerField(
        label=_("Slow calls down from, % of the spend limit"),
        required=False,
        min_value=1,
        max_value=99,
        help_text=_("From there on each call counts as 10 requests of the rate limits. Empty: never."),
    )


def name_field(hint: Any, *, longest: int = LONGEST_SUFFIX) -> forms.RegexField:
    """What a model's name may hold between colons."""
    return forms.RegexField(
        label=_("Name"),
        regex=rf"^{names.SUFFIX.pattern}\Z",
        help_text=hint,
        max_length=longest,
        required=False,
        error_messages={"invalid": _("Use letters, digits and dashes, for example refunds-v4.")},
    )


class CeilingField(InCurrency, forms.DecimalField):
    """A price that is not to be passed."""

    def to_python(self, value: Any) -> Any:
        """The number, with or without the currency's symbol."""
        said = value.strip() if isinstance(value, str) else ""
        if said:
            value = self.digits(said) or said
        try:
            return super().to_python(value)
        except forms.ValidationError as error:
            raise forms.ValidationError(self.refusal(), code="invalid") from error


def price_field(label: Any, hint: Any = "", *, required: bool = False) -> CeilingField:
    """Money that is not to be passed."""
    return CeilingField(
        label=label,
        help_text=hint,
        min_value=0,
        max_value=1_000_000,
        decimal_places=6,
        required=required,
    )


def places_field(label: Any) -> forms.IntegerField:
    """Places to train."""
    return forms.IntegerField(
        label=label,
        help_text=_("Of one machine, each of them one of your plan's parallel jobs. Empty: one."),
        min_value=1,
        max_value=MOST_GPUS,
        required=False,
    )
