"""What templates need to say numbers, times and states the way the look says them."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import template
from django.template.context import Context
from django.utils import formats, timezone
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.code import highlighted
from console.numbers import number
from console.pricing import HOURS_OF_MONTH
from console.states import STATES, State, call_word
from kit import charts
from kit.money import CENT, currency, in_currency, written, written_at_most, written_exact
from kit.money import price as priced

register = template.Library()
NBSP = "\u00a0"
NOTHING = "–"
GIGABYTE = 10**9


@register.filter
def money(nano: Any) -> str:
    """An amount of the organisation in scope as `$4.20`, less than nothing as `−$4.20`; nothing as an en dash."""
    return NOTHING if nano in (None, "") else written(int(nano)).replace("-", "−")


@register.filter
def money_in(nano: Any, code: str) -> str:
    """An amount in the currency that is named, for pages of many organisations."""
    with in_currency(code):
        return money(nano)


@register.filter
def money_exact(nano: Any) -> str:
    """An amount to the last digit that is not a zero, and at least to the cent: $3.00, $0.00345678; for tables whose
    lines a reader may add up."""
    return NOTHING if nano in (None, "") else written_exact(int(nano)).replace("-", "−")


@register.filter
def money_at_most(nano: Any) -> str:
    """A ceiling, rounded up; nothing as an en dash."""
    return NOTHING if nano in (None, "") else written_at_most(int(nano))


@register.filter
def cents(value: Any) -> str:
    """Whole cents as an amount: $29.00."""
    return NOTHING if value in (None, "") else money(int(value) * CENT)


@register.filter
def price(value: Any) -> str:
    """Whole cents as a plan's price: $29, $29.50."""
    return NOTHING if value in (None, "") else priced(int(value), currency()).replace("-", "−")


@register.filter
def count(value: Any) -> str:
    """An integer with the reader's thousands separators; nothing as an en dash, zero as 0."""
    return NOTHING if value in (None, "") else formats.number_format(value, use_l10n=True, force_grouping=True)


@register.filter
def big(value: Any) -> str:
    """A short count: 412, 48.1 k, 3.1 M."""
    if value in (None, ""):
        return NOTHING
    size = float(value)
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(size) >= limit:
            unit = 1e3 if suffix == "k" else limit
            short = round(size / unit, 1)
            return f"{formats.number_format(int(short) if short == int(short) else short)}{NBSP}{suffix}"
    return count(value)


@register.filter
def size(value: Any) -> str:
    """Bytes as `3.1 MB`."""
    if value in (None, ""):
        return NOTHING
    amount, unit = float(value), "B"
    for bigger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, bigger
    shown = round(amount, 1)
    whole = unit == "B" or amount >= 10 or shown == int(shown)
    return f"{formats.number_format(round(amount) if whole else shown)}{NBSP}{unit}"


@register.filter
def gb_months(byte_hours: Any) -> str:
    """Storage as `1.2 GB-months`, a month having 730 hours; little of it keeps the digits that say something."""
    if byte_hours in (None, ""):
        return NOTHING
    amount = Decimal(int(byte_hours)) / (GIGABYTE * HOURS_OF_MONTH)
    places = 1 if amount >= 10 else 2 if amount >= 1 else 4
    if 0 < amount < Decimal("0.0001"):
        return f"<{formats.number_format(Decimal('0.0001'))}{NBSP}{_('GB-months')}"
    return f"{number(amount, places)}{NBSP}{_('GB-months')}"


@register.filter
def score(value: Any, digits: int = 3) -> str:
    """A metric: three decimals by default; not a number as an en dash."""
    if value is None or value == "" or not math.isfinite(float(value)):
        return NOTHING
    return number(float(value), int(digits))


@register.filter
def signed(value: Any, digits: int = 3) -> str:
    """A difference with its sign: +0.012, −0.030; nothing as an en dash."""
    if value in (None, ""):
        return NOTHING
    size = number(abs(float(value)), int(digits))
    return size if not size.strip("0.,") else f"{'−' if float(value) < 0 else '+'}{size}"


@register.filter
def percent(share: Any, digits: int = 0) -> str:
    """A share 0..1 as `46%`."""
    return NOTHING if share in (None, "") else f"{number(float(share) * 100, int(digits))}%"


@register.filter
def duration(seconds: Any) -> str:
    """Seconds in words, rounded: under a minute, 6 min, 2 h 10 min."""
    if seconds in (None, ""):
        return NOTHING
    value = max(0, round(float(seconds)))
    if value < 60:
        return f"{value}{NBSP}s"
    minutes = round(value / 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}{NBSP}h {minutes}{NBSP}min" if minutes else f"{hours}{NBSP}h"
    return ngettext("%(n)s day", "%(n)s days", hours // 24) % {"n": hours // 24}


@register.filter
def engine_time(seconds: Any) -> str:
    """Seconds that cost money, to the minute however many they are: 71 h 40 min."""
    if seconds in (None, "") or int(seconds) < 3600:
        return duration(seconds)
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{count(hours)}{NBSP}h {minutes}{NBSP}min"


@register.simple_tag
def durations(low: Any, high: Any) -> str:
    """A range of seconds with its unit said once where it can be: 1–4 min, 50 s–2 min."""
    first, last = duration(low), duration(high)
    if first == last:
        return first
    number, _space, unit = first.partition(NBSP)
    return f"{number}–{last}" if last.partition(NBSP)[2] == unit else f"{first}–{last}"


@register.filter
def eta(seconds: Any) -> str:
    """`about 6 min left`, `under a minute left`, or `estimating` when nobody knows yet."""
    if seconds in (None, ""):
        return _("estimating")
    if float(seconds) < 60:
        return _("under a minute left")
    return _("about %(time)s left") % {"time": duration(seconds)}


@register.filter
def ago(moment: Any) -> str:
    """A short relative time: `4 min ago`, `in 2 h`; days become dates after a month."""
    if not isinstance(moment, datetime):
        return NOTHING
    seconds = (timezone.now() - moment).total_seconds()
    if abs(seconds) < 60:
        return _("just now")
    if abs(seconds) > 30 * 86_400:
        return formats.date_format(timezone.localtime(moment), "j M Y")
    value = duration(abs(seconds))
    return _("in %(time)s") % {"time": value} if seconds < 0 else _("%(time)s ago") % {"time": value}


@register.filter
def exact(moment: Any) -> str:
    """The absolute time in UTC, for titles."""
    if isinstance(moment, datetime):
        return moment.astimezone(timezone.UTC if hasattr(timezone, "UTC") else None).strftime("%Y-%m-%d %H:%M:%S UTC")
    return moment.isoformat() if isinstance(moment, date) else ""


@register.filter
def clip(text: Any, length: int = 200) -> str:
    """A cell cut at 200 characters; the row's own page has the whole text."""
    value = "" if text is None else str(text)
    return value if len(value) <= int(length) else value[: int(length) - 1] + "…"


@register.filter
def model_short(name: Any) -> str:
    """A model's name in a narrow cell, `support:01k9` of `ft:all-MiniLM-L6-v2:acme:support:01k9`: what tells models
    apart stands at the end. Bases and aliases stay as they are."""
    parts = clip(name, 400).split(":")
    whole = len(parts) == 5 and parts[0] == "ft"
    return clip(f"{parts[3] or parts[1]}:{parts[4]}" if whole else str(name or ""), 48)


@register.filter
def state(value: Any) -> State:
    """Word, icon and tone of a state code."""
    return STATES.get(str(value), State(str(value).replace("_", " ").capitalize(), "circle", "muted"))


@register.filter
def called(kind: Any) -> str:
    """What was called, in words: Classification; Chat, in a batch."""
    return call_word(str(kind))


@register.filter
def code_html(text: str, lang: str = "text") -> SafeString:
    """Highlighted code."""
    return highlighted(str(text), str(lang))


@register.filter
def ticked(text: Any) -> SafeString:
    """Text whose `backticked` words are code; everything else stays text."""
    parts = conditional_escape(text).split("`")
    if len(parts) % 2 == 0:
        return mark_safe("`".join(parts))
    return mark_safe("".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)))


@register.filter
def svg(text: str) -> SafeString:
    """A drawing made by `kit.charts`, which escapes every text it is given."""
    return mark_safe(text)


@register.filter
def spark(values: Any) -> SafeString:
    """A sparkline of numbers."""
    return mark_safe(charts.spark_line(list(values)))


@register.filter
def undo(message: Any) -> str:
    """The address that takes back what a message says; see `console.views.deleted`."""
    tag = str(getattr(message, "extra_tags", "") or "")
    return tag.removeprefix("undo:") if tag.startswith("undo:") else ""


@register.filter
def item(mapping: Any, key: Any) -> Any:
    """`mapping[key]`, or nothing."""
    return mapping.get(key) if isinstance(mapping, Mapping) else None


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: Any) -> str:
    """The page's query string with some parameters changed; a parameter set to nothing is dropped."""
    kept = context["request"].GET.copy()
    for name, value in changes.items():
        if value in (None, ""):
            kept.pop(name, None)
        else:
            kept[name] = str(value)
    text = urlencode([(name, value) for name, values in kept.lists() for value in values])
    return f"?{text}" if text else "?"


@register.simple_tag(takes_context=True)
def without(context: Context, names: Any) -> str:
    """The page's query string without some parameters, back on its first page."""
    return query(context, **dict.fromkeys([*names, "page", "row", "behind"], ""))


@register.filter
def unlocalised(value: Any) -> str:
    """A number for an HTML attribute: a dot, whatever the language."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{float(value):.6g}"
