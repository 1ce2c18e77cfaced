"""The currencies an organisation can be made in, and their names in words."""

from django.conf import settings
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.prices import price_books
from kit.clock import now
from kit.money import HOUSE, SYMBOLS, currency

NAMES = {"usd": gettext_lazy("US dollars"), "eur": gettext_lazy("euros"), "gbp": gettext_lazy("pounds sterling")}
EURO_REGIONS = frozenset((
    "AT", "BE", "BG", "CY", "DE", "EE", "ES", "FI", "FR", "GR", "HR", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PT",
    "SI", "SK",
))  # fmt: skip
"""Where the euro is money, in 2026."""
EURO_LANGUAGES = frozenset(("bg", "de", "el", "et", "fi", "fr", "ga", "hr", "it", "lt", "lv", "mt", "nl", "sk", "sl"))
"""Spoken for the most part in those; Spanish and Portuguese are not."""


def name(code: str) -> str:
    """In words, as within a sentence: `euros`; its code where it has no name here."""
    return str(NAMES.get(code, code.upper()))


def label(code: str) -> str:
    """As a choice: `Euros (€)`."""
    words, symbol = name(code), SYMBOLS.get(code, code.upper())
    return words if words == symbol else f"{words[0].upper()}{words[1:]} ({symbol})"


def symbol() -> str:
    """What stands before a field for an amount here: `€`, or `CHF` where a currency has no symbol."""
    code = currency()
    return SYMBOLS.get(code, code.upper())


def with_code(words: str) -> str:
    """A label with the currency that holds here, for who does not see the symbol: `Buy, EUR`."""
    return _("%(words)s, %(code)s") % {"words": words, "code": currency().upper()}


with_code_lazy = lazy(with_code, str)


def sold() -> list[str]:
    """Those with prices in force that this installation takes, the house's first. The free plan is there in each."""
    found = price_books().currencies(int(now().timestamp() * 1000))
    if settings.CURRENCIES:
        found = [code for code in found if code in settings.CURRENCIES] or [HOUSE]
    return sorted(found, key=lambda code: (code != HOUSE, code))


def likely(accept_language: str) -> str:
    """The currency to offer first, by the first entry of a browser's languages: euros for a region of the euro area,
    or without a region for a language of it; else the house's."""
    language, _dash, region = accept_language.split(",")[0].split(";")[0].strip().partition("-")
    euros = region.upper() in EURO_REGIONS if region else language.lower() in EURO_LANGUAGES
    codes = sold()
    wanted = "eur" if euros else HOUSE
    return wanted if wanted in codes else codes[0]
