"""How columns are said to staff: money in its organisation's currency, times to the second in UTC, shares in percent.

Staff look at many organisations at once, so no scope says what an amount is in: its row does.
"""

import datetime as dt
import functools
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import models

from kit.money import currency, in_currency, price, written
from tenants.models import Tenant

Say = Callable[[Any], str]
NOTHING = "–"
MIRRORED = frozenset({"amount", "amount_due", "amount_paid", "total"})
"""Amounts of Stripe's objects, which have a column for their currency: theirs can differ from their organisation's."""


def of(field: "models.Field[Any, Any]") -> Say | None:
    """How a column's values are said; None for those Django says well."""
    if field.name.endswith("_nano"):
        return written
    if field.name == "cents" or field.name.endswith("_cents") or _is_mirrored(field):
        return _cents
    if isinstance(field, models.DateTimeField):
        return _moment
    if field.name == "progress":
        return _share
    return None


def column(field: "models.Field[Any, Any]", say: Say) -> Callable[[Any], str]:
    """The column for lists and rows; it is sorted as the field itself."""

    mirrored = _is_mirrored(field)
    words = str(field.verbose_name).removesuffix(" nano").removesuffix(" cents")

    @admin.display(description="amount" if words == "cents" else words, ordering=field.name)
    def said(row: Any) -> str:
        value = getattr(row, field.name)
        with in_currency(row.currency if mirrored else currency_of(row)):
            return NOTHING if value is None else say(value)

    return said


def currency_of(row: Any) -> str:
    """What the amounts of a row are in: its organisation's currency. Empty where it belongs to none: then whoever is in
    scope says it, and the house outside of one."""
    whose = row if isinstance(row, Tenant) else getattr(row, "tenant", None)
    return str(getattr(whose, "currency", ""))


def in_its_currency(display: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A column made by a method, with its amounts in the currency of the row."""

    @functools.wraps(display)
    def said(table: Any, row: Any) -> Any:
        with in_currency(currency_of(row)):
            return display(table, row)

    return said


def _is_mirrored(field: "models.Field[Any, Any]") -> bool:
    return field.name in MIRRORED and any(other.name == "currency" for other in field.model._meta.fields)


def _cents(value: int) -> str:
    return price(value, currency())


def _moment(value: dt.datetime) -> str:
    return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def _share(value: float) -> str:
    return f"{value:.0%}"
