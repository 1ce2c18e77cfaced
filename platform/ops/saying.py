"""How columns are said to staff: money in dollars, times to the second in UTC, shares in percent."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import models

from kit.money import usd

Say = Callable[[Any], str]
NOTHING = "–"


def of(field: "models.Field[Any, Any]") -> Say | None:
    """How a column's values are said; None for those Django says well."""
    if field.name.endswith("_nano"):
        return usd
    if isinstance(field, models.DateTimeField):
        return _moment
    if field.name == "progress":
        return _share
    return None


def column(field: "models.Field[Any, Any]", say: Say) -> Callable[[Any], str]:
    """The column for lists and rows; it is sorted as the field itself."""

    @admin.display(description=str(field.verbose_name).removesuffix(" nano"), ordering=field.name)
    def said(row: Any) -> str:
        value = getattr(row, field.name)
        return NOTHING if value is None else say(value)

    return said


def _moment(value: dt.datetime) -> str:
    return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def _share(value: float) -> str:
    return f"{value:.0%}"
