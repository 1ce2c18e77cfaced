"""`/v1/billing/wallet`: what credit is left, how far the organisation goes on account, and automatic top-up."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from billing import schema
from billing.models import TopUp
from billing.selectors import wallet
from billing.selectors.topups import TopUpView, topup_view
from billing.services.topups import CONSENT, topup_set, topup_stop
from billing.services.wallet import postpaid_set, slow_set
from billing.wallet_body import WalletBody
from kit.clock import unix
from kit.errors import BadRequest
from kit.money import currency, number
from kit.schema import describe
from tenants.api import TenantAPIView

PARAMS = {
    "postpaid": "on_account_usd",
    "slow_below": "slow_below_usd",
    "below": "auto_top_up.below_usd",
    "amount": "auto_top_up.amount_usd",
    "month_most": "auto_top_up.month_most_usd",
    "consent": "auto_top_up.consent",
}
"""What services call a value, and where it stands in the body."""
REFUSED = "A value that cannot be; the message says what can, `param` which it is."


class WalletView(TenantAPIView):
    """The organisation's credit."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read", "POST": "billing.write"}

    @describe(name="wallet_retrieve", answers=schema.WALLET)
    def get(self, request: Request) -> Response:
        """Retrieve the wallet

        What is left of each credit, in the order in which it is used, what may be owed in a month beyond it, and how
        automatic top-up stands. Usage is taken off within a minute; what calls may still cost is in their answers'
        `x-budget-remaining-usd`.
        """
        return Response(self._wallet())

    @describe(
        name="wallet_update",
        takes=WalletBody,
        answers=schema.WALLET,
        refuses={400: REFUSED, 409: "There is no saved card.", 503: "Payments are not set up, or do not answer."},
        example={
            "slow_below_usd": 5,
            "auto_top_up": {"below_usd": 10, "amount_usd": 50, "month_most_usd": 200, "consent": True},
        },
    )
    def post(self, request: Request) -> Response:
        """Change the wallet

        Only what is named is changed, and all of it or nothing. Limits hold within seconds. A purchase that is due is
        made right after the answer. A key needs the scope `billing.write`, which no key has unless it was chosen.
        """
        body = self.read(WalletBody)
        try:
            self._change(body)
        except BadRequest as error:
            error.param = PARAMS.get(error.param or "", error.param)
            raise
        return Response(self._wallet())

    def _change(self, body: dict[str, Any]) -> None:
        if "on_account_usd" in body:
            postpaid_set(nano=body["on_account_usd"])
        if "slow_below_usd" in body:
            slow_set(nano=body["slow_below_usd"])
        if "auto_top_up" not in body:
            return
        wanted, caller = body["auto_top_up"], self.caller
        if wanted is None:
            topup_stop()
            return
        topup_set(
            below_nano=wanted["below_usd"],
            amount_nano=wanted["amount_usd"],
            month_most_nano=wanted["month_most_usd"],
            agreed=wanted["consent"],
            by=(caller.actor_kind, caller.actor_id, caller.actor_label),
        )

    def _wallet(self) -> dict[str, Any]:
        grants = wallet.in_turn(wallet.grants_left())
        balance, postpaid, slow = wallet.balance_nano(), wallet.postpaid_nano(), wallet.slow_nano()
        return {
            "object": "billing.wallet",
            "currency": currency(),
            "balance_usd": number(balance),
            "x_balance_nano": balance,
            "on_account_usd": None if postpaid is None else number(postpaid),
            "x_on_account_nano": postpaid,
            "slow_below_usd": None if slow is None else number(slow),
            "x_slow_below_nano": slow,
            "auto_top_up": _auto(topup_view(), may_pay="billing.write" in self.caller.scopes),
            "top_up_terms": CONSENT,
            "grants": [_grant(one) for one in grants],
        }


def _auto(view: TopUpView, *, may_pay: bool) -> dict[str, Any] | None:
    if view.auto is None:
        return None
    agreed = view.auto.consent
    return {
        "object": "billing.auto_top_up",
        "status": "on" if view.on else "failed" if view.failed else "off",
        "below_usd": number(agreed.below_nano),
        "x_below_nano": agreed.below_nano,
        "amount_usd": number(agreed.amount_nano),
        "x_amount_nano": agreed.amount_nano,
        "month_most_usd": number(agreed.month_most_nano),
        "x_month_most_nano": agreed.month_most_nano,
        "month_usd": number(view.month_nano),
        "x_month_nano": view.month_nano,
        "consented_at": unix(agreed.at),
        "last": None if view.last is None else _topup(view.last, may_pay=may_pay),
    }


def _topup(one: TopUp, *, may_pay: bool) -> dict[str, Any]:
    return {
        "id": one.public_id,
        "object": "billing.top_up",
        "status": one.state,
        "created_at": unix(one.created_at),
        "amount_usd": number(one.amount_nano),
        "x_amount_nano": one.amount_nano,
        "reason": one.reason or None,
        "pay_url": (one.url or None) if may_pay and one.state == TopUp.State.FAILED else None,
    }


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
