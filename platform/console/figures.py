"""Numbers with decimals, in the reader's format."""

from decimal import Decimal

from django.utils import formats


def decimals(value: float | Decimal, digits: int) -> str:
    """`value` to `digits` decimals. It is rounded here: Django's own formatting cuts the rest off, so that 0.8587
    would be shown as 0.858."""
    return formats.number_format(f"{value:.{digits}f}", decimal_pos=digits)
