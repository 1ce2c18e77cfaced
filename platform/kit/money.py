"""Money is a whole number of nano: 1e-9 of a dollar, a euro, of whatever its organisation pays in. No float ever holds
an amount.

An organisation has one currency for as long as it lives, and every amount of it is in that: an amount therefore carries
no currency of its own (docs/decisions/0074).
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

NANO = 1_000_000_000
CENT = NANO // 100
LIMIT = 10**18
"""Largest amount accepted from outside, one billion."""
_MOST = Decimal(LIMIT // NANO)


HOUSE = "usd"
"""What the installation itself pays and reckons in: its machines, its acquisition, its economics."""
SYMBOLS = {"eur": "\u20ac", "gbp": "\u00a3", "usd": "$"}
_chosen: ContextVar[str] = ContextVar("currency", default="")
_followed: list[Callable[[], str]] = []


def currency() -> str:
    """The currency that amounts are in here: the one chosen by `in_currency`, else that of the organisation in scope,
    else the house's. Three small letters, as Stripe writes it."""
    return _chosen.get() or (_followed[0]() if _followed else HOUSE)


def follow(whose: Callable[[], str]) -> None:
    """Take the currency from what knows the organisation in scope (`tenants.currency`); set once, at the start."""
    _followed[:] = [whose]


@contextlib.contextmanager
def in_currency(code: str) -> Iterator[None]:
    """Everything inside writes amounts in this currency: for pages of no organisation, or of many."""
    token = _chosen.set(code)
    try:
        yield
    finally:
        _chosen.reset(token)


def with_symbol(digits: str, code: str) -> str:
    """Digits with their currency: `$4.20`, `\u20ac4.20`, and `4.20 CHF` for one without a symbol of its own."""
    symbol = SYMBOLS.get(code)
    return f"{symbol}{digits}" if symbol else f"{digits}\u00a0{code.upper()}"


def written(nano: int, *, places: int | None = None, code: str = "") -> str:
    """An amount as text, in the currency that holds here (`currency`) unless told: `$4.20`, `\u20ac4.20`; small ones
    keep the digits that say something: `$0.000004`."""
    sign, less = "-" if nano < 0 else "", ""
    amount = Decimal(abs(nano)) / NANO
    if places is None:
        places = 2 if amount == 0 or amount >= Decimal("0.01") else 6
    quantum = Decimal(1).scaleb(-places)
    if 0 < amount < quantum:
        less, amount = "<", quantum
    digits = f"{amount.quantize(quantum, rounding=ROUND_HALF_EVEN):,f}"
    return f"{sign}{less}{with_symbol(digits, code or currency())}"


def written_exact(nano: int) -> str:
    """An amount to its last digit that is not a zero, and at least to the cent: `$3.00`, `$0.00345678`."""
    whole, _dot, part = f"{Decimal(abs(nano)) / NANO:,.9f}".partition(".")
    digits = f"{whole}.{part.rstrip('0').ljust(2, '0')}"
    return f"{'-' if nano < 0 else ''}{with_symbol(digits, currency())}"


def usd(nano: int, *, places: int | None = None) -> str:
    """An amount of the house's own as text, whoever is in scope."""
    return written(nano, places=places, code=HOUSE)


def written_at_most(nano: int) -> str:
    """A ceiling of `nano` (0 or more) as text, like `written` but never less than it: $0.0237 is at most `$0.03`."""
    step = CENT if nano >= CENT else NANO // 10**6
    return written(-(-nano // step) * step)


WITHOUT_CENTS = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf")
)
"""Currencies whose smallest unit at Stripe is the whole one."""
WITHOUT_HUNDREDTHS = WITHOUT_CENTS | {"bhd", "jod", "kwd", "omr", "tnd"}
"""These and those with thousandths. Nothing is sold in them: an invoice's unit here is a hundredth."""


def price(minor: int, code: str) -> str:
    """A price in a currency's smallest unit as text: `$29`, `$29.50`, `\u20ac27`, `4,400 JPY`."""
    places = 0 if code in WITHOUT_CENTS else 2
    digits = f"{Decimal(abs(minor)).scaleb(-places):,.{places}f}".removesuffix(".00")
    return f"{'-' if minor < 0 else ''}{with_symbol(digits, code)}"


def in_name(name: str, code: str = "") -> str:
    """The name of a field that holds an amount, as its reader sees it: `cost_usd`, and `cost_eur` for an organisation
    that pays in euros. A number is never under the name of another currency."""
    return name.removesuffix("_usd") + f"_{code or currency()}" if name.endswith("_usd") else name


def without_sign(text: str) -> tuple[str, str]:
    """An amount as people type it, less the sign or code of a currency before or after it; and which currency that was,
    the one that holds here where none is named. A number of dollars is not one of euros: who asks refuses others."""
    text, here = text.strip(), currency()
    for code in (here, *SYMBOLS):
        for sign in (SYMBOLS.get(code, code), code, code.upper()):
            bare = text.removeprefix(sign).removesuffix(sign)
            if bare != text:
                return bare.strip(), code
    return text, here


def parse_amount(value: object) -> int:
    """Nano of a decimal number or text. ValueError on anything else, negative, or beyond LIMIT."""
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
    """An amount as a JSON number, for reading only; nothing is ever computed from it."""
    return float(Decimal(nano) / NANO)


def cents(nano: int) -> int:
    """Whole cents, banker's rounding; the caller keeps the remainder."""
    return int((Decimal(nano) / CENT).to_integral_value(rounding=ROUND_HALF_EVEN))


class Amount(Decimal):
    """A number in a file: written out, never in powers of ten, and a number also where it is negative."""

    def __str__(self) -> str:
        return f"{self:f}"


def exact_amount(nano: int) -> Amount:
    """Nano as an amount for a file, exactly."""
    return Amount(Decimal(nano) / NANO)
