"""What `POST /v1/billing/wallet` takes."""

from __future__ import annotations

from typing import Any

from kit.api import StrictSerializer
from kit.fields import Dollars, Truth


class DollarsFromZero(Dollars):
    """An amount that may be nothing."""

    def to_internal_value(self, data: Any) -> int:
        """Nano."""
        return 0 if data == 0 and not isinstance(data, bool) else super().to_internal_value(data)


class TopUpBody(StrictSerializer):
    """When credit is bought by itself, how much, and the most of a month."""

    below_usd = Dollars(help_text="Credit is bought when the balance falls below this, whole cents.")
    amount_usd = Dollars(help_text="How much is bought at once, whole cents.")
    month_most_usd = Dollars(help_text="What purchases of a calendar month (UTC) may come to, whole cents.")
    consent = Truth(help_text="Must be true: that somebody who may has agreed to the wallet's `top_up_terms`.")


class WalletBody(StrictSerializer):
    """Only what is named is changed."""

    on_account_usd = DollarsFromZero(
        required=False,
        allow_null=True,
        help_text="What may be owed in a month beyond credit: 0 stops when credit is used up, null leaves it to the "
        "spend limits.",
    )
    slow_below_usd = Dollars(
        required=False,
        allow_null=True,
        help_text="At so much left of credit and what may be owed, or less, a call counts as 10 requests; null: never.",
    )
    auto_top_up = TopUpBody(
        required=False, allow_null=True, help_text="Turn automatic top-up on, or change it; null turns it off."
    )
