"""Promotions from files: a coupon and the code that people type for it. Published files never change.

A coupon takes a share off the price of the plans it names, and of nothing else: usage is sent as not discountable.
One file of `promotions/`, listed in its SHA256SUMS:

code = "SPRING27"                    # what people type
name = "Spring 2027"                 # what their invoice says
percent_off = 20
months = 3                           # of a subscription; 0: once, left out: for ever
plans = ["developer", "team"]
first_time = true                    # for organisations that never paid; left out: true
most = 500                           # redemptions
ends_at = 2027-06-01T00:00:00Z
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

from billing.plans.files_read import PlanError, plan_book

PROMOTIONS = Path(__file__).parent / "promotions"


@dataclasses.dataclass(frozen=True, slots=True)
class Promotion:
    """One promotion; `slug` is its file's name."""

    slug: str
    code: str
    name: str
    percent_off: int
    months: int | None
    """How many it goes on; 0: the first invoice, None: for ever."""
    plans: tuple[str, ...]
    most: int
    ends_at: dt.datetime
    first_time: bool = True

    def runs_at(self, moment: dt.datetime) -> bool:
        """Whether a code can still be typed then."""
        return moment < self.ends_at


@functools.cache
def promotions(folder: Path = PROMOTIONS) -> tuple[Promotion, ...]:
    """Load and check every promotion of a folder."""
    lines = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines() if line.strip()]
    digests = {name: digest for digest, name in lines}
    files = {file.name: file for file in sorted(folder.glob("*.toml"))}
    if gone := sorted(set(digests) - set(files)):
        raise PlanError(f"published promotions are gone: {', '.join(gone)}")
    found = []
    for name, file in files.items():
        content = file.read_bytes()
        if digests.get(name) != hashlib.sha256(content).hexdigest():
            raise PlanError(f"{name} differs from what was published; a new promotion needs a new file")
        try:
            found.append(_parse(file.stem, tomllib.loads(content.decode())))
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"{name} is not a promotion: {error}") from error
    codes = [one.code.casefold() for one in found]
    if len(set(codes)) < len(codes):
        raise PlanError("two promotions have one code")
    return tuple(found)


def _parse(slug: str, data: dict[str, Any]) -> Promotion:
    made = Promotion(slug, months=data.pop("months", None), plans=tuple(data.pop("plans")), **data)
    if not re.fullmatch(r"[A-Z0-9-]{4,40}", made.code):
        raise ValueError("a code has 4 to 40 capital letters, digits and dashes")
    numbers = {
        "percent_off": (made.percent_off, 1, 100),
        "months": (made.months or 0, 0, 36),
        "most": (made.most, 1, 10**6),
    }
    for name, (value, least, largest) in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= largest:
            raise ValueError(f"{name} is from {least} to {largest}")
    if made.percent_off == 100 and made.months is None:
        raise ValueError("nothing is given away for ever")
    unknown = [plan for plan in made.plans if not plan_book().latest(plan).sold_online]
    if not made.plans or unknown:
        raise ValueError("it names the plans it is for, and only such as are sold online")
    if not isinstance(made.ends_at, dt.datetime) or made.ends_at.tzinfo is None:
        raise ValueError("ends_at is a moment with its time zone")
    return made
