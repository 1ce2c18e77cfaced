"""Before anything starts: the version of Stripe's API that the settings name is the one the client speaks, and the
house has a rate for each currency that something is sold in."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from billing.prices import PriceError, price_books
from billing.prices.rates_file import quoted
from kit.clock import now


def client_version() -> str:
    """The version the installed client was made for, read from its file: importing it costs a tenth of a start."""
    spec = find_spec("stripe")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    text = (folder / "_api_version.py").read_text("utf-8") if (folder / "_api_version.py").exists() else ""
    found = re.search(r'CURRENT = "([^"]+)"', text)
    return found[1] if found else ""


@register()
def stripe_version(app_configs: Any, **options: Any) -> list[CheckMessage]:
    """Whether both agree."""
    spoken = client_version()
    if spoken == settings.STRIPE_API_VERSION:
        return []
    told = f"The installed stripe package speaks {spoken or 'an unknown version'}, STRIPE_API_VERSION says "
    hint = "Read Stripe's changelog between the two, change the setting, then run manage.py stripe_sync --webhook."
    return [Error(f"{told}{settings.STRIPE_API_VERSION}.", hint=hint, id="billing.E001")]


@register()
def rates_known(app_configs: Any, **options: Any) -> list[CheckMessage]:
    """Whether each price book's currency can be turned into the house's, in which the economics are."""
    try:
        for currency in sorted({book.currency for book in price_books().versions.values()}):
            quoted(currency, now().date())
    except PriceError as error:
        hint = "See billing/prices/rates and /docs/operating, Rates of exchange."
        return [Error(f"The economics cannot be reckoned in dollars: {error}.", hint=hint, id="billing.E002")]
    return []
