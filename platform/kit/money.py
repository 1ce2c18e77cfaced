"""Money is integer nano-USD (1e-9 USD). No float ever holds an amount."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

NANO = 1_000_000_000
CENT = NANO // 100
LIMIT = 10**18
"""Largest amount accepted from outside, one billion dollars."""
_MOST = Decimal(LIMIT // NANO)


def usd(nano: int, *, places: int | None = None) -> str:
    """Dollars as text: `$4.20`; small amounts keep the digits that say something: `$0.000004`."""
    sign = "-" if nano < 0 else ""
    amount = Decimal(abs(nano)) / NANO
    if places is None:
        places = 2 if amount == 0 or amount >= Decimal("0.01") else 6
    quantum = Decimal(1).scaleb(-places)
    if 0 < amount < quantum:
        return f"{sign}<${quantum:f}"
    return f"{sign}${amount.quantize(quantum, rounding=ROUND_HALF_EVEN):,f}"


def usd_at_most(nano: int) -> str:
    """A ceiling of `nano` (0 or more) as text, like `usd` but never less than it: $0.0237 is at most `$0.03`."""
    step = CENT if nano >= CENT else NANO // 10**6
    return usd(-(-nano // step) * step)


WITHOUT_CENTS = ("clp", "jpy", "krw", "vnd")
"""Currencies whose smallest unit is the whole one."""


def price(minor: int, currency: str) -> str:
    """A price in a currency's smallest unit as text: `$29`, `$29.50`, `27 EUR`, `4,400 JPY`."""
    places = 0 if currency in WITHOUT_CENTS else 2
    amount = f"{Decimal(minor).scaleb(-places):,.{places}f}".removesuffix(".00")
    return f"${amount}" if currency == "usd" else f"{amount}\u00a0{currency.upper()}"


def parse_usd(value: object) -> int:
    """Nano-USD of a decimal number or text of dollars. ValueError on anything else, negative, or beyond LIMIT."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise ValueError("not a number")
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not amount.is_finite() or not 0 <= amount <= _MOST:  # compared before any product, which could overflow
        raise ValueError("out of range")
    return int((amount * NANO).to_integral_value(rounding=ROUND_HALF_EVEN))


def number(nano: int) -> float:
    """Dollars as a JSON number, for reading only; nothing is ever computed from it."""
    return float(Decimal(nano) / NANO)


def cents(nano: int) -> int:
    """Whole cents, banker's rounding; the caller keeps the remainder."""
    return int((Decimal(nano) / CENT).to_integral_value(rounding=ROUND_HALF_EVEN))


class Amount(Decimal):
    """A number in a file: written out, never in powers of ten, and a number also where it is negative."""

    def __str__(self) -> str:
        return f"{self:f}"


def exact_usd(nano: int) -> Amount:
    """Nano-USD as dollars for a file, exactly."""
    return Amount(Decimal(nano) / NANO)
