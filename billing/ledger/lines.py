"""From rated days to the lines of a bill. Pure; exact nano; the rounding to cents is the invoice's alone.

The one rounding rule (`to_cents`): a line's cents are its exact amount plus what the same line left over last month,
rounded half to even; the difference is carried to the same line of the next month. Nothing is ever lost or gained.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Protocol

from billing.periods import month_of
from billing.prices.rating import BATCH, ENGINES, STORAGE, base_of, is_batch
from kit.money import CENT, cents

ALLOWANCE = "allowance"
"""Key of the line that takes off what the plan includes."""
CREDIT = "credit"
"""Key of the line that takes off what the wallet has paid."""
GIVEN = "given"
"""Key of the line that hands on, as credit, what corrections made less than nothing of a bill."""

RERATED = "rerated:"
"""What the price version of a line begins with that only corrects another one's price."""
TIERS, PACKAGES = "tiers:", "packages:"
"""What it begins with where the line says what a month's quantities change: tiers take off, packages are rounded up."""
NOT_OF_EVENTS = (RERATED, TIERS, PACKAGES)
"""What it begins with where no event of that line exists."""

_UNITS = {STORAGE: "byte-hours", ENGINES: "engine-seconds"}
"""What is counted of a kind; of any other kind tokens."""

_NAMES = {
    "classify": "Classification",
    "decisions": "Decisions",
    "embeddings": "Embeddings",
    "rerank": "Reranking",
    "chat": "Chat",
    "completions": "Completions",
    "training": "Training",
    "training_preemptible": "Training, preemptible lane",
    "training_priority": "Training, priority lane",
    "storage": "Storage",
    "dedicated": "Engines of its own",
}


class Rated(Protocol):
    """What this needs of a rated line."""

    day: dt.date
    kind: str
    model: str
    price_version: str
    input_tokens: int
    output_tokens: int
    requests: int
    gpu_ms: int
    byte_hours: int
    posted_nano: int
    invoiced_nano: int


@dataclasses.dataclass(frozen=True)
class BillLine:
    """One line of a bill. `quantity` counts `unit`s; `key` names the line from month to month."""

    key: str
    description: str
    quantity: int
    unit: str
    amount_nano: int


def bill_lines(rated: Iterable[Rated], *, period: dt.date, allowance_nano: int, drawn_nano: int = 0) -> list[BillLine]:
    """Lines by kind, base and price version, late usage of earlier months apart, the allowance and credit last."""
    sums: dict[tuple[str, str, str, dt.date], list[int]] = {}
    for line in rated:
        month = month_of(line.day)
        entry = sums.setdefault((line.kind, base_of(line.model), line.price_version, month), [0, 0])
        # Late lines were billed in part: their quantity was, too, so only the money of the rest is shown.
        entry[0] += _quantity(line) if line.invoiced_nano == 0 else 0
        entry[1] += line.posted_nano - line.invoiced_nano
    lines = [_line(parts, quantity, amount, period) for parts, (quantity, amount) in sorted(sums.items()) if amount]
    used = sum(line.amount_nano for line in lines)
    included = max(0, min(allowance_nano, used - drawn_nano))
    if included:
        lines.append(BillLine(ALLOWANCE, "Included in your plan", 1, "month", -included))
    if drawn_nano:
        lines.append(BillLine(CREDIT, "Paid from credit", 1, "month", -drawn_nano))
    return lines


def balanced(lines: list[BillLine], given_nano: int) -> list[BillLine]:
    """Lines that sum to less than nothing, and those that bring them to nothing: so much is handed on as credit, the
    rest is taken off what the plan had included."""
    rest = -sum(line.amount_nano for line in lines) - given_nano
    more = [
        BillLine(GIVEN, "Handed on as credit", 1, "month", given_nano),
        BillLine(ALLOWANCE, "Had been included in your plan", 1, "month", rest),
    ]
    return [*lines, *(line for line in more if line.amount_nano)]


def _line(parts: tuple[str, str, str, dt.date], quantity: int, amount: int, period: dt.date) -> BillLine:
    kind, base, version, month = parts
    late = "" if month == period else f" (late, {month:%Y-%m})"
    key = f"{kind}:{base}:{version}" + ("" if month == period else f":{month:%Y-%m}")
    if version.startswith(RERATED):
        return BillLine(key, f"{kind_name(kind)} · {base}, priced anew{late}", 1, "correction", amount)
    unit = _UNITS.get(kind, "tokens")
    for prefix, name in _BY_QUANTITY.items():
        if version.startswith(prefix):
            of = f", {_counted(quantity, unit)}" if quantity else ""
            return BillLine(key, f"{name} · {kind_name(kind)} · {base}{of}{late}", 1, "adjustment", amount)
    return BillLine(key, f"{kind_name(kind)} · {base}{late}", quantity, unit, amount)


_BY_QUANTITY = {TIERS: "Tier adjustment", PACKAGES: "Packages begun"}


def _counted(quantity: int, unit: str) -> str:
    """A month's quantity in words of a bill, in whole units."""
    if unit == "byte-hours":
        return f"{-(-quantity // 10**9):,} GB-hours"
    return f"{-(-quantity // 3600):,} engine-hours" if unit == "engine-seconds" else f"{quantity:,} tokens"


def _quantity(line: Rated) -> int:
    if line.kind == ENGINES:
        return line.gpu_ms // 1000
    return line.byte_hours if line.kind == STORAGE else line.input_tokens + line.output_tokens


def kind_name(kind: str) -> str:
    """A kind of usage as a bill names it."""
    live = kind.removeprefix(BATCH)
    return _NAMES.get(live, live.title()) + (", in batches" if is_batch(kind) else "")


def to_cents(amount_nano: int, carried_nano: int = 0) -> tuple[int, int]:
    """(whole cents, nano carried on), with carried in; the carry is within half a cent."""
    exact = amount_nano + carried_nano
    whole = cents(exact)
    return whole, exact - whole * CENT
