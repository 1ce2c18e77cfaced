"""What closing a month writes down, from the lines that are not billed. Pure; exact nano."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

from billing.ledger.lines import BillLine, Rated, balanced, bill_lines
from billing.models.ledger import Account


@dataclasses.dataclass(frozen=True, slots=True)
class Closing:
    """A bill before it is stored, and what it moves in the ledger."""

    period: dt.date
    usage_nano: int
    drawn: Mapping[dt.date, int]
    lines: list[BillLine]

    given_nano: int = 0
    """What of a bill below nothing is handed on as credit."""

    def handed_on(self, given_nano: int) -> Closing:
        """A bill that is nothing instead of less: so much of it becomes credit, and the rest takes off what the plan
        had included. One that is not below nothing stays as it is."""
        if self.net_nano >= 0:
            return self
        return dataclasses.replace(self, lines=balanced(self.lines, given_nano), given_nano=given_nano)

    @property
    def paid_nano(self) -> int:
        """What credit had paid of it."""
        return sum(self.drawn.values())

    @property
    def net_nano(self) -> int:
        """What is due."""
        return sum(line.amount_nano for line in self.lines)

    @property
    def row(self) -> dict[str, Any]:
        """The fields of its `PeriodClose`."""
        return {
            "period": self.period,
            "usage_nano": self.usage_nano,
            "allowance_nano": self.usage_nano - self.paid_nano - self.net_nano + self.given_nano,
            "drawn_nano": self.paid_nano,
            "drawn": {f"{month:%Y-%m}": nano for month, nano in sorted(self.drawn.items())},
            "net_nano": self.net_nano,
            "lines": [dataclasses.asdict(line) for line in self.lines],
        }

    @property
    def posting(self) -> dict[str, Any] | None:
        """Kind, key, entries and memo of its transaction; None where it moves nothing."""
        left = self.usage_nano - self.paid_nano
        if not left and not self.net_nano:
            return None
        return {
            "kind": "close",
            "key": f"{self.period:%Y-%m}",
            "entries": {
                Account.RECEIVABLE: self.net_nano,
                Account.ALLOWANCE: left - self.net_nano + self.given_nano,
                Account.UNBILLED: -left,
                Account.CREDIT: -self.given_nano,
            },
            "memo": f"Usage of {self.period:%Y-%m}",
        }


def closing(
    rated: Collection[Rated], *, period: dt.date, allowance_nano: int, drawn: Mapping[dt.date, int] | None = None
) -> Closing:
    """The bill of a month: all that is posted and not billed, less what is included and what credit has paid."""
    drawn = drawn or {}
    lines = bill_lines(rated, period=period, allowance_nano=allowance_nano, drawn_nano=sum(drawn.values()))
    return Closing(period, sum(line.posted_nano - line.invoiced_nano for line in rated), drawn, lines)
