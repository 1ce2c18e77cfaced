"""What the house reckons other currencies at: dated TOML files beside a list of their digests, kept by the operator.

For display in the economics only. Nothing is sold, billed or booked at a rate (docs/decisions/0074).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import re
import tomllib
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from billing.prices.books_file import PriceError
from kit.money import HOUSE

FOLDER = Path(__file__).parent / "rates"
KEYS = {"version", "effective_from", "usd_for_one"}
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Rates:
    """One file: from which day on, and how much of the house's currency one unit of each other one is."""

    version: str
    since: dt.date
    for_one: dict[str, Decimal]


@functools.cache
def rate_lists(folder: Path = FOLDER) -> list[Rates]:
    """Every file of a folder, the oldest first. PriceError for one that is gone, changed, or cannot be read."""
    listed = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines() if line.strip()]
    digests = {name: digest for digest, name in listed}
    files = {file.name: file for file in folder.glob("*.toml")}
    if gone := sorted(set(digests) - set(files)):
        raise PriceError(f"rates of exchange are gone: {', '.join(gone)}")
    found: dict[dt.date, Rates] = {}
    for name, file in sorted(files.items()):
        content = file.read_bytes()
        if name not in digests:
            raise PriceError(f"{name} has no line in SHA256SUMS: write it with sha256sum")
        if digests[name] != hashlib.sha256(content).hexdigest():
            raise PriceError(f"{name} differs from what was in use; other rates need a new file")
        rates = _parse(name, content)
        if rates.version != file.stem:
            raise PriceError(f"{name} names itself {rates.version}")
        if rates.since in found:
            raise PriceError(f"{name} and {found[rates.since].version}.toml both hold from {rates.since}")
        found[rates.since] = rates
    return [rates for _since, rates in sorted(found.items())]


def quoted(currency: str, day: dt.date) -> Decimal:
    """USD for one unit of a currency (three small letters) on a day, as the file has it: the last one begun by then
    that names it, else the first that does. PriceError where none does."""
    return Decimal(1) if currency == HOUSE else _found(currency, day, FOLDER)


def rate(currency: str, day: dt.date) -> Fraction:
    """The same to reckon with, exactly."""
    return Fraction(quoted(currency, day))


@functools.lru_cache(maxsize=4096)
def _found(currency: str, day: dt.date, folder: Path) -> Decimal:
    naming = [rates for rates in rate_lists(folder) if currency in rates.for_one]
    if not naming:
        raise PriceError(f"no file of rates names {currency}: say what one is in {HOUSE.upper()} in a new file")
    begun = [rates for rates in naming if rates.since <= day]
    return (begun[-1] if begun else naming[0]).for_one[currency]


def _parse(name: str, content: bytes) -> Rates:
    try:
        data: dict[str, Any] = tomllib.loads(content.decode())
    except ValueError as error:
        raise PriceError(f"{name} is no TOML: {error}") from None
    if set(data) != KEYS:
        raise PriceError(f"{name} has other keys than {', '.join(sorted(KEYS))}")
    since, given = data["effective_from"], data["usd_for_one"]
    if not isinstance(since, dt.date) or isinstance(since, dt.datetime):
        raise PriceError(f"{name}: effective_from is a day, such as 2027-01-01")
    if not isinstance(given, dict) or not given:
        raise PriceError(f'{name}: usd_for_one names currencies, such as eur = "1.16"')
    return Rates(str(data["version"]), since, {code: _rate(name, code, text) for code, text in given.items()})


def _rate(name: str, code: str, text: Any) -> Decimal:
    if not re.fullmatch("[a-z]{3}", code) or code == HOUSE:
        raise PriceError(f"{name}: {code} is no other currency than {HOUSE}, in three small letters")
    if not isinstance(text, str) or not _RATE.fullmatch(text) or not Decimal(text):
        raise PriceError(f'{name}: {code} is no rate over 0 in quotes with nine places at most, such as "1.16"')
    return Decimal(text)
