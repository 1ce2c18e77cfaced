"""Small HTML: everything from outside goes through `esc`."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from billing.stripe_emulator.errors import StripeError

ZERO_DECIMAL = {"jpy", "krw", "vnd", "clp", "xaf", "xof", "ugx", "rwf", "pyg", "kmf", "gnf", "djf", "bif", "vuv", "xpf"}


@dataclass(frozen=True)
class Page:
    """A page to send: its text, status, and the origins its forms may end at."""

    text: str
    status: int = 200
    targets: tuple[str, ...] = field(default=())
    redirect: str | None = None
    file: bytes | None = None
    """A PDF in place of the text."""

    @property
    def policy(self) -> str:
        """The Content-Security-Policy. Browsers hold redirects after a form to `form-action` too."""
        ends = " ".join(("'self'", *self.targets))
        return f"default-src 'none'; style-src 'self'; form-action {ends}; base-uri 'none'; frame-ancestors 'none'"


def esc(value: object) -> str:
    """Text safe in HTML and in attributes."""
    return html.escape(str(value), quote=True)


def origin(url: str | None) -> tuple[str, ...]:
    """The origin of an address, for the policy."""
    if not url:
        return ()
    parts = urlsplit(url)
    return (f"{parts.scheme}://{parts.netloc}",) if parts.netloc and not set(parts.netloc) & set(" ;,'\"") else ()


def money(amount: int, currency: str) -> str:
    """`$ 29.00`: an amount in the currency's smallest unit, for reading."""
    sign = "−" if amount < 0 else ""
    code = currency.upper()
    if currency in ZERO_DECIMAL:
        return f"{sign}{abs(amount):,} {code}"
    whole, cents = divmod(abs(amount), 100)
    mark = {"eur": "\u20ac", "gbp": "\u00a3", "usd": "$"}.get(currency, "")
    return f"{sign}{mark}{whole:,}.{cents:02d}" + ("" if mark else f" {code}")


def day(moment: int | None) -> str:
    """A date, UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%d %b %Y}" if moment else "not set"


def moment(at: int | str | None) -> str:
    """A date with its time, UTC. The v2 API's own are shown as they are."""
    if isinstance(at, str):
        return esc(at)
    return f"{datetime.fromtimestamp(at, UTC):%d %b %Y %H:%M:%S}" if at else ""


def document(title: str, body: str, *, wide: bool = False) -> str:
    """A whole document around a body."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f'<title>{esc(title)}</title><link rel="stylesheet" href="/_static/style.css"></head><body>'
        f'<main{" class=wide" if wide else ""}><p class="test">Local Stripe emulator: no real money moves</p>'
        f"{body}</main></body></html>"
    )


def error_box(error: StripeError | None) -> str:
    """What went wrong, announced to screen readers."""
    if error is None:
        return ""
    after = " Nothing was charged. Correct it or use another card." if error.status == 402 else ""
    return f'<p class="error" role="alert" id="error">{esc(error.message)}{after}</p>'


def card_fields(*, optional: bool = False) -> str:
    """Inputs for a card. Nothing typed here is ever sent back to the page or kept."""
    fields = (
        '<label for="number">Card number</label>'
        '<input id="number" name="number" inputmode="numeric" autocomplete="cc-number" required maxlength="24" '
        'placeholder="4242 4242 4242 4242" aria-describedby="cards">'
        '<div class="pair"><div><label for="expiry">Expiry (MM/YY)</label>'
        '<input id="expiry" name="expiry" autocomplete="cc-exp" required maxlength="9" placeholder="12/34"></div>'
        '<div><label for="cvc">Security code</label>'
        '<input id="cvc" name="cvc" inputmode="numeric" autocomplete="cc-csc" required maxlength="4" placeholder="123">'
        "</div></div>"
        '<p class="note" id="cards">Test cards: <code>4242 4242 4242 4242</code> is taken, '
        "<code>4000 0000 0000 0002</code> is declined, <code>4000 0000 0000 9995</code> has no funds, "
        "<code>4000 0027 6000 3184</code> wants you to confirm. "
        "Any future date, any security code.</p>"
    )
    return fields.replace(" required", "") if optional else fields
