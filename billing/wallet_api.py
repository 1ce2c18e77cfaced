"""`/v1/billing/wallet`: what credit is left, and how far the organisation goes on account."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from billing import schema
from billing.selectors import wallet
from kit.clock import unix
from kit.money import number
from kit.schema import describe
from tenants.api import TenantAPIView


class WalletView(TenantAPIView):
    """The organisation's credit."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="wallet_retrieve", answers=schema.WALLET)
    def get(self, request: Request) -> Response:
        """Retrieve the wallet

        What is left of each credit, in the order in which it is used, and what may be owed in a month beyond it. Usage
        is taken off within a minute; what calls may still cost is in their answers' `x-budget-remaining-usd`.
        """
        grants = wallet.in_turn(wallet.grants_left())
        balance, postpaid = wallet.balance_nano(), wallet.postpaid_nano()
        return Response(
            {
                "object": "billing.wallet",
                "balance_usd": number(balance),
                "x_balance_nano": balance,
                "on_account_usd": None if postpaid is None else number(postpaid),
                "x_on_account_nano": postpaid,
                "grants": [_grant(one) for one in grants],
            }
        )


def _grant(one: Any) -> dict[str, Any]:
    return {
        "id": one.public_id,
        "object": "billing.credit_grant",
        "kind": one.kind,
        "created_at": unix(one.created_at),
        "expires_at": unix(one.expires_at),
        "amount_usd": number(one.amount_nano),
        "x_amount_nano": one.amount_nano,
        "left_usd": number(one.left_nano),
        "x_left_nano": one.left_nano,
    }
