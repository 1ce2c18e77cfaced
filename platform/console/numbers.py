"""Numbers with decimals, in the reader's format."""

from decimal import Decimal

from django.utils import formats
from django.utils.translation import gettext as _


def number(value: float | Decimal, digits: int = 2) -> str:
    """`value` to `digits` decimals. It is rounded here: Django's own formatting cuts the rest off, so that 0.8587 would
    be shown as 0.858."""
    return formats.number_format(f"{value:.{digits}f}", decimal_pos=digits)


def interval(low: float, high: float) -> str:
    """`0.09–0.15`; with a minus in it `-0.004 to 0.10`, so that no dash is read as one."""
    if low >= 0:
        return f"{number(low)}–{number(high)}"
    return _("%(low)s to %(high)s") % {"low": number(low, 3), "high": number(high, 3)}
