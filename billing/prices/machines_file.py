"""What machines cost us: TOML files beside a list of their digests, read as price books are.

A list whose digest differs from the recorded one stops whoever reads it: what an hour was said to cost must stay so.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from billing.prices.books_file import PriceError

FOLDER = Path(__file__).parent / "machines"
CLASSES = ("trainer_cpu", "trainer_gpu", "engine", "engine_own")
"""Kinds of machines: a place to train without and with a GPU, an engine for everybody, one of a deployment's own."""
HOUR_MS = 3_600_000


@dataclasses.dataclass(frozen=True)
class MachinePrices:
    """One list: nano-USD a millisecond by class."""

    version: str
    effective_from_ms: int
    ms_nano: dict[str, int]


@functools.cache
def machine_lists(folder: Path = FOLDER) -> list[MachinePrices]:
    """Every list of a folder, the oldest first. PriceError for one that is gone, changed, or cannot be read."""
    listed = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines() if line.strip()]
    digests = {name: digest for digest, name in listed}
    files = {file.name: file for file in folder.glob("*.toml")}
    if gone := sorted(set(digests) - set(files)):
        raise PriceError(f"lists of machine prices are gone: {', '.join(gone)}")
    found = []
    for name, file in files.items():
        content = file.read_bytes()
        if digests.get(name) != hashlib.sha256(content).hexdigest():
            raise PriceError(f"{name} differs from what was published; another cost needs a new file")
        prices = _parse(tomllib.loads(content.decode()))
        if prices.version != file.stem:
            raise PriceError(f"{name} names itself {prices.version}")
        found.append(prices)
    return sorted(found, key=lambda prices: (prices.effective_from_ms, prices.version))


def machine_prices(at_ms: int) -> MachinePrices:
    """The list in force at a moment (ms since 1970, UTC)."""
    begun = [prices for prices in machine_lists() if prices.effective_from_ms <= at_ms]
    if not begun:
        raise PriceError("no list of machine prices was in force at that time")
    return begun[-1]


def _parse(data: dict[str, Any]) -> MachinePrices:
    if data["currency"] != "USD":
        raise PriceError("machine prices are in USD")
    hours = data["hour"]
    if set(hours) != set(CLASSES):
        raise PriceError(f"machine prices name other classes than {', '.join(CLASSES)}")
    for name, nano in hours.items():
        if not isinstance(nano, int) or isinstance(nano, bool) or nano < 0 or nano % HOUR_MS:
            raise PriceError(f"{name} is not a whole number of nano-USD a millisecond")
    since = int(data["effective_from"].timestamp()) * 1000
    return MachinePrices(data["version"], since, {name: nano // HOUR_MS for name, nano in hours.items()})
