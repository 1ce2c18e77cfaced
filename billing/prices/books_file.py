"""Reading the published price books: TOML files beside a list of their digests.

A book whose digest differs from the recorded one stops the start-up: what was sold under a version must stay what it
was. A new price is a new file and a new line in `SHA256SUMS`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from billing.prices.rating import NOT_CALLS, Price, PriceVersion, batch_kind

FOLDER = Path(__file__).parent / "books"
_PER_MILLION = {
    "input_per_million": "input_token",
    "output_per_million": "output_token",
    "trained_per_million": "trained_token",
}
_PLAIN = {"request": "request", "gigabyte_hour": "gigabyte_hour"}


class PriceError(ValueError):
    """A price book that cannot be trusted or cannot be rated exactly."""


@dataclasses.dataclass(frozen=True)
class PriceBooks:
    """All published versions."""

    versions: dict[str, PriceVersion]

    def get(self, version: str) -> PriceVersion:
        """A version by name; KeyError if it was never published."""
        return self.versions[version]

    def current(self, at_ms: int) -> PriceVersion:
        """The version in force at a moment (ms since 1970, UTC)."""
        begun = [book for book in self.versions.values() if book.effective_from_ms <= at_ms]
        if not begun:
            raise PriceError("no price book was in force at that time")
        return max(begun, key=lambda book: (book.effective_from_ms, book.version))


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
    if data["currency"] != "USD":
        raise PriceError("price books are in USD")
    since: dt.datetime = data["effective_from"]
    kinds = {
        kind: {model: _price(fields) for model, fields in models.items()} for kind, models in data["kinds"].items()
    }
    for kind, models in kinds.items():
        if "default" not in models:
            raise PriceError(f"{kind} has no default price")
    if "batch" in data:
        kinds |= _batched(kinds, data["batch"]["percent"])
    return PriceVersion(data["version"], int(since.timestamp()) * 1000, kinds)


def _batched(kinds: dict[str, dict[str, Price]], percent: int) -> dict[str, dict[str, Price]]:
    """The kinds of calls again, as lines of a batch: `percent` of each price, exactly."""
    calls = {kind: models for kind, models in kinds.items() if kind not in NOT_CALLS}
    return {
        batch_kind(kind): {model: _share(f"{kind}.{model}", price, percent) for model, price in models.items()}
        for kind, models in calls.items()
    }


def _share(name: str, price: Price, percent: int) -> Price:
    units = {unit: amount * percent for unit, amount in dataclasses.asdict(price).items()}
    for unit, amount in units.items():
        if amount % 100:
            raise PriceError(f"{percent} % of {name}'s {unit} is not a whole number of nano-USD")
    return Price(**{unit: amount // 100 for unit, amount in units.items()})


def _price(fields: dict[str, Any]) -> Price:
    units: dict[str, int] = {}
    for name, value in fields.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise PriceError(f"{name} is not a whole number of nano-USD")
        if name in _PER_MILLION:
            units[_PER_MILLION[name]] = _divided(name, value, 10**6)
        elif name == "machine_second":
            units["machine_ms"] = _divided(name, value, 1000)
        elif name in _PLAIN:
            units[_PLAIN[name]] = value
        else:
            raise PriceError(f"unknown price {name}")
    return Price(**units)


def _divided(name: str, value: int, by: int) -> int:
    if value % by:
        raise PriceError(f"{name} = {value} is not a whole number of nano-USD per unit")
    return value // by
