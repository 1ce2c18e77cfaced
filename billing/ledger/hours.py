"""What a meter is told of a running account. Pure; exact nano in, whole cents out.

An account has what is owed (bills of closed months, and of running ones what closed hours owe) and what was taken:
cents that a meter was told of, and cents that stood on a line of an invoice. Whatever happened in between (late usage,
credit, a larger allowance, a reading that was lost) shows as their difference, and the next step tells that.
"""

from __future__ import annotations

import dataclasses

from kit.money import CENT


@dataclasses.dataclass(frozen=True, slots=True)
class MeterAccount:
    """What is owed and what was taken, since the first bill that a meter took part of."""

    closed_nano: int
    """Bills of closed months."""
    open_nano: int
    """What closed hours owe of months that run."""
    taken_cents: int

    @property
    def left_nano(self) -> int:
        """Owed and not taken; below zero where more was taken than is owed by now."""
        return self.closed_nano + self.open_nano - self.taken_cents * CENT

    @property
    def reading_cents(self) -> int:
        """What a meter is told now: whole cents, and never a negative number, which Stripe would bill as nothing."""
        return max(0, self.left_nano // CENT)

    def line_cents(self, *, metered: bool) -> int:
        """What a line of an invoice has to say: what was taken too much (rounded so that less than a cent stays owed),
        and where no meter takes it, what closed months still owe."""
        if self.left_nano < 0:
            return self.left_nano // CENT
        closed = self.closed_nano - self.taken_cents * CENT
        return 0 if metered else max(0, closed // CENT)


def owed_nano(*, used: int, drawn: int, allowance: int) -> int:
    """What a month owes so far: used, less what credit paid, less what the plan includes."""
    return max(0, used - drawn - max(0, allowance))
