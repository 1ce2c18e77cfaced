"""What a month's quantities change in what its usage cost: tiers take off, packages are rounded up. Pure; nano.

Each kind, base and price version counts for itself. Usage that was priced anew counts under the version it has now.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from billing.ledger.lines import PACKAGES, TIERS
from billing.prices import STORAGE, Adjustment, PriceBooks, PriceVersion, Usage, adjustment, ahead, rate
from billing.prices.rating import GIGABYTE, base_of

Counts = tuple[int, int, int, int, int]
"""Input tokens, output tokens, requests, machine ms, byte-hours."""
NOTHING: Counts = (0, 0, 0, 0, 0)
Group = tuple[str, str, str]
"""Kind, base, price version."""
Changes = Mapping[tuple[str, Group], int]
"""By what it is (`TIERS`, `PACKAGES`) and group, what is added to a month, in nano."""
DROPPED = 10**5
"""More than storage drops in a month: less than a nano for each hour and project. What is missing beyond it, a limit
let off."""


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """What a month has of one group: quantities, and what they were charged by the price of the first unit."""

    counts: Counts
    charged_nano: int

    def usage(self, kind: str, base: str) -> Usage:
        """The month as one usage."""
        read, written, requests, machine_ms, byte_hours = self.counts
        return Usage(kind, base, read, written, requests, machine_ms, byte_hours)


@dataclasses.dataclass(frozen=True, slots=True)
class Anew:
    """Usage of one rated line that was priced anew: it leaves its own version and counts under another one."""

    kind: str
    model: str
    price_version: str
    to: str
    counts: Counts
    cost_nano: int
    """What its events had cost."""
    after_nano: int
    """What they cost now."""


def months_of(rows: Iterable[tuple[str, str, str, Counts, int]], anew: Iterable[Anew] = ()) -> dict[Group, Counted]:
    """A month by group. `rows` are its rated lines as calls made them: kind, model, price version, counts, nano."""
    sums: dict[Group, list[int]] = {}

    def add(kind: str, model: str, version: str, counts: Counts, nano: int, sign: int = 1) -> None:
        entry = sums.setdefault((kind, base_of(model), version), [0] * 6)
        for place, amount in enumerate((*counts, nano)):
            entry[place] += sign * amount

    for kind, model, version, counts, nano in rows:
        add(kind, model, version, counts, nano)
    for one in anew:
        add(one.kind, one.model, one.price_version, one.counts, one.cost_nano, -1)
        add(one.kind, one.model, one.to, one.counts, one.after_nano)
    # Events that are priced anew before their hour is summed are not in the lines yet: less than nothing is nothing.
    return {
        group: Counted((max(a, 0), max(b, 0), max(c, 0), max(d, 0), max(e, 0)), max(nano, 0))
        for group, (a, b, c, d, e, nano) in sums.items()
    }


def month_change(kind: str, base: str, book: PriceVersion, counted: Counted) -> Adjustment:
    """What the month's price by its quantities is beyond what was charged.

    What was let off stays let off, and tiers never take off more than was charged. Storage drops parts of a nano by the
    hour: there the package itself is what counts. Where a limit let some of it off, only what was paid for begins one.
    """
    month = counted.usage(kind, base)
    price = book.price(kind, base)
    if not price.scales:
        return Adjustment()
    if kind == STORAGE and ahead(price) and rate(month, book) - counted.charged_nano > DROPPED:
        paid = counted.charged_nano * GIGABYTE // price.gigabyte_hour
        month = dataclasses.replace(month, byte_hours=paid)
    found = adjustment(month, book)
    tiers, packages = found.tiers, found.packages
    if kind == STORAGE:
        change = rate(month, book) + tiers + packages - counted.charged_nano
        tiers, packages = min(change, 0), max(change, 0) if ahead(price) else 0
    return Adjustment(max(tiers, -counted.charged_nano), packages)


def month_changes(months: Mapping[Group, Counted], books: PriceBooks) -> dict[tuple[str, Group], int]:
    """By what it is (`TIERS`, `PACKAGES`) and group, what is to be added to a month; without those that are nothing."""
    found: dict[tuple[str, Group], int] = {}
    for group, counted in sorted(months.items()):
        kind, base, version = group
        book = books.versions.get(version)
        if book is None or kind not in book.kinds:
            continue
        change = month_change(kind, base, book, counted)
        for what, nano in ((TIERS, change.tiers), (PACKAGES, change.packages)):
            if nano:
                found[what, group] = nano
    return found


def within(changes: Changes, room_nano: int | None) -> dict[tuple[str, Group], int]:
    """The same, with packages only as far as the limits carry them; None where there is no limit."""
    if room_nano is None:
        return dict(changes)
    left, found = max(0, room_nano), {}
    for (what, group), nano in changes.items():
        part = min(nano, left) if what == PACKAGES else nano
        left -= part if what == PACKAGES else 0
        if part:
            found[what, group] = part
    return found


def as_billed(changes: Changes, carried: Changes, held: Changes, let_off: Changes) -> dict[tuple[str, Group], int]:
    """What of the changes of a month that was billed is charged. The limits of today have no say in what was: a package
    that was charged stays (`held`), as far as prices still say it, and what was let off is not asked for again."""
    found = {key: nano for key, nano in changes.items() if key[0] != PACKAGES}
    for key in changes.keys() - found.keys():
        most = min(carried.get(key, 0), changes[key] - let_off.get(key, 0))
        if nano := max(most, min(held.get(key, 0), changes[key])):
            found[key] = nano
    return found


def kinds_by_quantity(books: PriceBooks) -> set[str]:
    """Kinds that some version prices by a month's quantity."""
    return {
        kind
        for book in books.versions.values()
        for kind, models in book.kinds.items()
        if any(price.scales for price in models.values())
    }
