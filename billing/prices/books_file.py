"""Reading the published price books: TOML files beside a list of their digests.

A book whose digest differs from the recorded one stops the start-up: what was sold under a version must stay what it
was. A new price is a new file and a new line in `SHA256SUMS`.

Schema 1 has one number for each unit. Schema 2 (`schema = 2`) also takes a table in its place, for a price that depends
on a month's quantity, a price for cached input, and prices by class of machine:

[kinds.embeddings.default.input_per_million]          [kinds.dedicated.machines.h200]
mode = "graduated"                                    machine_second = 1_000_000
tiers = [{ up_to = 1_000_000_000, price = 10_000_000 }, { price = 8_000_000 }]

Modes are `graduated` and `volume` (tiers: `up_to` counts single units, `price` is per what the key says), `package`
(`units` for `price`) and `flat` (`price` for a month).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import itertools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from billing.prices.rating import ENGINES, NOT_CALLS, TRAINING, Price, PriceVersion, batch_kind
from billing.prices.scales import Flat, Graduated, Package, Scale, Tier, Volume
from kit.money import HOUSE, WITHOUT_HUNDREDTHS

FOLDER = Path(__file__).parent / "books"
_UNITS = {
    "input_per_million": ("input_token", 10**6, 1),
    "cached_input_per_million": ("cached_token", 10**6, 1),
    "output_per_million": ("output_token", 10**6, 1),
    "trained_per_million": ("trained_token", 10**6, 1),
    "request": ("request", 1, 1),
    "machine_second": ("machine_ms", 1000, 1000),
    "gigabyte_hour": ("gigabyte_hour", 1, 10**9),
}
"""By a key of a book: the unit it prices, by what its price is divided to be the unit's, and how many of what is
counted (tokens, requests, ms, byte-hours) are one of what the book counts."""
CACHED = "cached_input_per_million"


class PriceError(ValueError):
    """A price book that cannot be trusted or cannot be rated exactly."""


@dataclasses.dataclass(frozen=True)
class PriceBooks:
    """All published versions."""

    versions: dict[str, PriceVersion]

    def get(self, version: str) -> PriceVersion:
        """A version by name; KeyError if it was never published."""
        return self.versions[version]

    def current(self, at_ms: int, currency: str) -> PriceVersion:
        """The version in force at a moment (ms since 1970, UTC), of those in a currency."""
        begun = [
            book for book in self.versions.values() if book.effective_from_ms <= at_ms and book.currency == currency
        ]
        if not begun:
            raise PriceError(f"no price book in {currency.upper()} was in force at that time")
        return max(begun, key=lambda book: (book.effective_from_ms, book.version))

    def currencies(self, at_ms: int) -> list[str]:
        """Those in which there are prices at a moment, the house's first."""
        found = {book.currency for book in self.versions.values() if book.effective_from_ms <= at_ms}
        return sorted(found, key=lambda one: (one != HOUSE, one))


@functools.cache
def price_books(folder: Path = FOLDER) -> PriceBooks:
    """Load and check every book of a folder."""
    listed = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines() if line.strip()]
    digests = {name: digest for digest, name in listed}
    files = sorted(folder.glob("*.toml"))
    missing = set(digests) - {file.name for file in files}
    if missing:
        raise PriceError(f"published price books are gone: {', '.join(sorted(missing))}")
    versions = {}
    for file in files:
        content = file.read_bytes()
        if digests.get(file.name) != hashlib.sha256(content).hexdigest():
            raise PriceError(f"{file.name} differs from what was published; a new price needs a new file")
        book = _parse(tomllib.loads(content.decode()))
        if book.version != file.stem:
            raise PriceError(f"{file.name} names itself {book.version}")
        versions[book.version] = book
    return PriceBooks(versions)


def _parse(data: dict[str, Any]) -> PriceVersion:
    currency = str(data["currency"])
    if len(currency) != 3 or currency != currency.upper() or currency.lower() in WITHOUT_HUNDREDTHS:
        raise PriceError(f"{currency} is no currency with hundredths, in three capitals: bills are in hundredths")
    schema = data.get("schema", 1)
    if schema not in (1, 2):
        raise PriceError(f"schema {schema} is none that this release reads")
    since: dt.datetime = data["effective_from"]
    machines = {}
    for kind, models in data["kinds"].items():
        if schema == 2:
            for machine, fields in models.pop("machines", {}).items():
                machines[kind, machine] = _of_machine(kind, machine, fields)
    kinds = {
        kind: {model: _price(f"{kind}.{model}", fields, schema) for model, fields in models.items()}
        for kind, models in data["kinds"].items()
    }
    for kind, models in kinds.items():
        if "default" not in models:
            raise PriceError(f"{kind} has no default price")
    for kind, _ in machines:
        if any(price.scales for price in kinds[kind].values()):
            raise PriceError(
                f"{kind} is priced by quantity: a class of machine cannot have a price of its own beside it"
            )
    if "batch" in data:
        kinds |= _batched(kinds, data["batch"]["percent"])
    return PriceVersion(data["version"], int(since.timestamp()) * 1000, kinds, machines, currency.lower())


def _of_machine(kind: str, machine: str, fields: dict[str, Any]) -> Price:
    """A month's quantities are summed over machines, so a price of one cannot depend on them."""
    if kind not in (*TRAINING, ENGINES):
        raise PriceError(f"{kind} runs on no machine that is chosen")
    return _price(f"{kind}.machines.{machine}", fields, 1)


def _batched(kinds: dict[str, dict[str, Price]], percent: int) -> dict[str, dict[str, Price]]:
    """The kinds of calls again, as lines of a batch: `percent` of each price, exactly."""
    calls = {kind: models for kind, models in kinds.items() if kind not in NOT_CALLS}
    return {
        batch_kind(kind): {model: _share(f"{kind}.{model}", price, percent) for model, price in models.items()}
        for kind, models in calls.items()
    }


def _share(name: str, price: Price, percent: int) -> Price:
    def part(unit: str, amount: int) -> int:
        if amount * percent % 100:
            raise PriceError(f"{percent} % of {name}'s {unit} is not a whole number of nano")
        return amount * percent // 100

    units = {unit: part(unit, getattr(price, unit)) for unit, _, _ in _UNITS.values() if getattr(price, unit)}
    if price.cached_token == 0:
        units["cached_token"] = 0
    scales = tuple((unit, _share_of(scale, functools.partial(part, unit))) for unit, scale in price.scales)
    return Price(**units, scales=scales)


def _share_of(scale: Scale, part: Callable[[int], int]) -> Scale:
    if isinstance(scale, Graduated | Volume):
        return type(scale)(tuple(Tier(tier.up_to, part(tier.price)) for tier in scale.tiers))
    if isinstance(scale, Package):
        return Package(scale.units, part(scale.price), part(scale.first))
    return Flat(part(scale.price))


def _price(name: str, fields: dict[str, Any], schema: int) -> Price:
    units: dict[str, int] = {}
    scales: list[tuple[str, Scale]] = []
    for key, value in fields.items():
        if key not in _UNITS or (key == CACHED and schema == 1):
            raise PriceError(f"unknown price {key}")
        unit, divide, _ = _UNITS[key]
        if isinstance(value, dict) and schema == 2 and key != CACHED:
            scale = _scale(f"{name}.{key}", key, value)
            scales.append((unit, scale))
            units[unit] = scale.first
        else:
            units[unit] = _divided(key, _whole(key, value), divide)
    if "cached_token" in units:
        if any(unit == "input_token" for unit, _ in scales):
            raise PriceError(
                f"{name} has tiers of its input: what is cached cannot have a price of its own beside them"
            )
        if units["cached_token"] > units.get("input_token", 0):
            raise PriceError(
                f"{name}: cached input costs more than input, and a call is admitted at the price of input"
            )
    return Price(**units, scales=tuple(scales))


def _scale(name: str, key: str, table: dict[str, Any]) -> Scale:
    """A price by a month's quantity; PriceError where it is none, or where it could pass a spend limit."""
    _, divide, counted = _UNITS[key]
    mode, given = table.get("mode"), set(table) - {"mode"}
    if mode in ("graduated", "volume") and given == {"tiers"}:
        tiers = tuple(_tier(name, key, row) for row in table["tiers"])
        _check_tiers(name, tiers)
        return Graduated(tiers) if mode == "graduated" else Volume(tiers)
    if mode == "package" and given == {"units", "price"}:
        units, price = _whole(f"{name}.units", table["units"]), _whole(f"{name}.price", table["price"])
        if units < 1:
            raise PriceError(f"{name}: a package has one unit at least")
        # A GB-hour's price is for the GB-hour; of all else it is for the single thing that is counted.
        first = _divided(f"{name}.price", price, units * (divide if key == "machine_second" else 1))
        return Package(units * counted, price, first)
    if mode == "flat" and given == {"price"}:
        return Flat(_whole(f"{name}.price", table["price"]))
    raise PriceError(f"{name}: graduated and volume have tiers, package units and price, flat a price")


def _tier(name: str, key: str, row: dict[str, Any]) -> Tier:
    if not {"price"} <= set(row) <= {"price", "up_to"}:
        raise PriceError(f"{name}: a tier has a price, and up_to where another follows")
    _, divide, counted = _UNITS[key]
    up_to = _whole(f"{name}.up_to", row["up_to"]) * counted if "up_to" in row else None
    return Tier(up_to, _divided(f"{name}.price", _whole(f"{name}.price", row["price"]), divide))


def _check_tiers(name: str, tiers: tuple[Tier, ...]) -> None:
    """A call is admitted at the first tier's price, so no later one may be dearer."""
    if not tiers or tiers[-1].up_to is not None or any(tier.up_to is None for tier in tiers[:-1]):
        raise PriceError(f"{name}: every tier but the last has an end, and the last has none")
    lower = 0
    for tier in tiers[:-1]:
        if tier.up_to is None or tier.up_to <= lower:
            raise PriceError(f"{name}: each tier ends after the one before it")
        lower = tier.up_to
    for before, after in itertools.pairwise(tiers):
        if after.price > before.price:
            raise PriceError(f"{name}: a tier is dearer than the one before it, so a spend limit could be passed")


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PriceError(f"{name} is not a whole number, 0 or more")
    return value


def _divided(name: str, value: int, by: int) -> int:
    if value % by:
        raise PriceError(f"{name} = {value} is not a whole number of nano per unit")
    return value // by
