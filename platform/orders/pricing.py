"""The sums of a quote. Pure, in whole cents; a discount is in basis points (1 % is 100) and is rounded down once, on
the subtotal, so that no line says something else than its unit price times its quantity.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kit.money import currency, with_symbol, without_sign
from orders.errors import AmountRefused

MOST_CENTS = 10_000_000_000
"""One hundred million: of a unit price, a line and a total."""
MOST_QUANTITY = 1_000_000_000
MOST_LINES = 50
WHOLE = 10_000
"""All of it, in basis points."""
MOST_DISCOUNT = 5_000
FREE_DISCOUNT = 1_000
"""Up to here one person of staff may give a discount; beyond it a second one approves."""
LONGEST_LINE = 300
_AMOUNT = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d{1,2}))?", re.ASCII)
_SHARE = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what, how many of it, and the price of one in cents."""

    description: str
    quantity: int
    unit_cents: int

    @property
    def cents(self) -> int:
        """What the line costs."""
        return self.quantity * self.unit_cents


@dataclass(frozen=True, slots=True)
class Sums:
    """What a quote adds up to, in cents."""

    subtotal: int
    discount: int
    total: int
    deposit: int

    @property
    def rest(self) -> int:
        """What the milestones pay."""
        return self.total - self.deposit


def check_line(line: Line) -> Line:
    """The line with a tidy description; AmountRefused, in words, for what no invoice could say."""
    description = " ".join(line.description.split())
    if not 1 <= len(description) <= LONGEST_LINE or not description.isprintable():
        raise AmountRefused(f"A line needs a description of at most {LONGEST_LINE} characters.", param="lines")
    for value, most, what in (
        (line.quantity, MOST_QUANTITY, "quantity"),
        (line.unit_cents, MOST_CENTS, "unit price in cents"),
    ):
        if isinstance(value, bool) or not isinstance(value, int):
            raise AmountRefused(f"The {what} of '{description[:60]}' must be a whole number.", param="lines")
        if value < 0:
            raise AmountRefused(
                f"The {what} of '{description[:60]}' is negative. Give a discount on the whole quote instead.",
                param="lines",
            )
        if value > most:
            raise AmountRefused(f"The {what} of '{description[:60]}' is more than {most:,}.", param="lines")
    if line.quantity == 0:
        raise AmountRefused(f"The quantity of '{description[:60]}' is 0. Leave the line out.", param="lines")
    if line.cents > MOST_CENTS:
        raise AmountRefused(f"'{description[:60]}' costs more than {_most()}.", param="lines")
    return Line(description, line.quantity, line.unit_cents)


def _most() -> str:
    return with_symbol(f"{MOST_CENTS // 100:,}", currency())


def check_share(value: object, *, most: int, what: str, param: str) -> int:
    """A share in basis points; AmountRefused when it is no whole number of them from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise AmountRefused(f"The {what} must be from 0 % to {most // 100} %.", param=param)
    return value


def sums_of(lines: Sequence[Line], *, discount_bp: int, deposit_bp: int) -> Sums:
    """Add a quote up. AmountRefused where a line, a share or the whole cannot be."""
    checked = [check_line(line) for line in lines]
    if not checked:
        raise AmountRefused("A quote needs at least one line.", param="lines")
    if len(checked) > MOST_LINES:
        raise AmountRefused(f"A quote has at most {MOST_LINES} lines.", param="lines")
    check_share(discount_bp, most=MOST_DISCOUNT, what="discount", param="discount")
    check_share(deposit_bp, most=WHOLE, what="deposit", param="deposit")
    subtotal = sum(line.cents for line in checked)
    if subtotal > MOST_CENTS:
        raise AmountRefused(f"The quote is more than {_most()}.", param="lines")
    discount = subtotal * discount_bp // WHOLE
    total = subtotal - discount
    if total == 0:
        raise AmountRefused("The quote comes to nothing. Give at least one line a price.", param="lines")
    return Sums(subtotal, discount, total, total * deposit_bp // WHOLE)


def needs_approval(discount_bp: int) -> bool:
    """Whether a discount is beyond what one person may give."""
    return discount_bp > FREE_DISCOUNT


def parts_of(total: int, count: int) -> list[int]:
    """A sum of cents in so many parts that differ by at most a cent, the larger first."""
    least, more = divmod(total, count)
    return [least + (place < more) for place in range(count)]


def cents_of(text: str) -> int:
    """Cents of an amount as people write it ("1,200.50"), with the currency that holds here before or after it, or
    without any. AmountRefused for anything else."""
    said, code = without_sign(text)
    found = _AMOUNT.fullmatch(said) if code == currency() else None
    if said.startswith(("-", "−")):
        raise AmountRefused(f"{text.strip()[:40]} is negative. Give a discount on the whole quote instead.")
    if found is None:
        raise AmountRefused(
            f"'{text.strip()[:40]}' is not an amount of {currency().upper()} in whole cents, such as 1,200 or 49.50."
        )
    if len(found[1].replace(",", "")) > 12:
        raise AmountRefused(f"An amount is at most {_most()}.")
    return int(found[1].replace(",", "")) * 100 + int((found[2] or "").ljust(2, "0"))


def share_of(text: str) -> int:
    """Basis points of a percentage as people write it ("12.5"). AmountRefused for anything else."""
    found = _SHARE.fullmatch(text.strip().removesuffix("%").strip())
    if found is None:
        raise AmountRefused(f"'{text.strip()[:40]}' is not a share from 0 to 100 with at most two decimals.")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def lines_of(text: str) -> list[Line]:
    """Lines typed one a row as `description | quantity | unit price`. AmountRefused names the row."""
    lines = []
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip():
            continue
        parts = [part.strip() for part in row.split("|")]
        if len(parts) != 3:
            raise AmountRefused(
                f"Row {number}: write the description, the quantity and the unit price, with | between them.",
                param="lines",
            )
        count = parts[1].replace(",", "")
        if not (count.isascii() and count.isdigit()):
            raise AmountRefused(f"Row {number}: the quantity '{parts[1][:40]}' is not a whole number.", param="lines")
        if len(count) > 12:
            raise AmountRefused(f"Row {number}: the quantity is more than {MOST_QUANTITY:,}.", param="lines")
        try:
            lines.append(check_line(Line(parts[0], int(count), cents_of(parts[2]))))
        except AmountRefused as error:
            raise AmountRefused(f"Row {number}: {error.message}", param="lines") from error
    return lines
