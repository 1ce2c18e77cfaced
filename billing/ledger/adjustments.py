"""What the end of a month changes in what its usage cost: tiers take off, packages are rounded up. Pure; nano-USD."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from billing.ledger.lines import BillLine, Rated, kind_name
from billing.periods import month_of
from billing.prices import PriceBooks, Usage, adjustment
from billing.prices.rating import base_of

TIERS, PACKAGES = "tiers", "packages"
"""How the keys of such lines end."""
_NAMES = {TIERS: "Tier adjustment", PACKAGES: "Packages begun"}


def adjustment_lines(
    rated: Iterable[Rated], books: PriceBooks, *, period: dt.date, given: Mapping[str, int] | None = None
) -> list[BillLine]:
    """Lines that bring a month's usage to what its prices say of the whole month.

    `rated`: every rated line of the month, billed or not. `given`: what bills of that month have changed already, by
    key; late usage of a closed month then changes only the rest. Tiers never take off more than was charged.
    """
    sums: dict[tuple[str, str, str], list[int]] = {}
    for line in rated:
        if month_of(line.day) != month_of(period):
            continue
        entry = sums.setdefault((line.kind, base_of(line.model), line.price_version), [0] * 6)
        counts = (line.input_tokens, line.output_tokens, line.requests, line.gpu_ms, line.byte_hours, line.posted_nano)
        for index, count in enumerate(counts):
            entry[index] += count
    lines = []
    for (kind, base, version), (read, written, requests, machine_ms, byte_hours, charged) in sorted(sums.items()):
        book = books.versions.get(version)
        if book is None or kind not in book.kinds:
            continue
        found = adjustment(Usage(kind, base, read, written, requests, machine_ms, byte_hours), book)
        for what, amount in ((TIERS, max(found.tiers, -charged)), (PACKAGES, found.packages)):
            key = f"{kind}:{base}:{version}:{what}"
            rest = amount - (given or {}).get(key, 0)
            if rest:
                lines.append(BillLine(key, f"{_NAMES[what]} · {kind_name(kind)} · {base}", 1, "month", rest))
    return lines
