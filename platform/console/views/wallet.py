"""The wallet: what credit is left, what became of it, how far the organisation goes on account, and buying more."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.errors import PaymentsAway
from billing.models import StripeCommand
from billing.models import Wallet as WalletRow
from billing.selectors import budgets, wallet
from billing.selectors.topups import TopUpView, topup_view
from billing.services import purchases
from billing.services.commands import command_finish
from billing.services.topup_settling import failure_words
from billing.services.topups import CONSENT, topup_set, topup_stop
from billing.services.wallet import postpaid_set, slow_set
from console.fields import AmountField
from console.templatetags.look import money
from console.views.base import ConsoleView, Download, Outside
from console.views.billing import policy
from kit.clock import now
from kit.csvs import csv_response
from kit.money import NANO, in_name

SHOWN = 30
"""Lines of the statement on the page; the file has all."""
KINDS = {
    "promo": gettext_lazy("Promotion"),
    "goodwill": gettext_lazy("Goodwill"),
    "rollover": gettext_lazy("Rolled over"),
    "prepaid": gettext_lazy("Bought"),
}
WHAT = {
    "granted": gettext_lazy("Credit"),
    "used": gettext_lazy("Usage"),
    "expired": gettext_lazy("Ended"),
    "refunded": gettext_lazy("Refunded"),
    "returned": gettext_lazy("Payment went back"),
    "settled": gettext_lazy("Settled by credit that ended"),
}


class AccountForm(forms.Form):
    """What may be owed beyond credit; empty for what the spend limits say."""

    postpaid = AmountField(label=gettext_lazy("Most on account in a month"))


class BuyForm(forms.Form):
    """How much credit to buy."""

    amount = AmountField(label=gettext_lazy("Credit to buy"), required=True, initial=50 * NANO)


class SlowForm(forms.Form):
    """At how much left calls are slowed; empty for never."""

    slow_below = AmountField(label=gettext_lazy("Slow calls down below"))


class TopUpForm(forms.Form):
    """When to buy credit by itself, how much, and the most of a month."""

    below = AmountField(label=gettext_lazy("When the balance falls below"), required=True, initial=10 * NANO)
    amount = AmountField(label=gettext_lazy("Buy"), required=True, initial=50 * NANO)
    month_most = AmountField(label=gettext_lazy("At most in a month"), required=True, initial=200 * NANO)
    consent = forms.BooleanField(label=gettext_lazy("I agree for the organisation"), required=False)


class Wallet(ConsoleView):
    """Balance, grants, statement."""

    section = "billing"
    required_scopes = {"GET": "billing.read"}
    template_name = "console/wallet.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it. Coming back from the payment page, look at Stripe at once instead of waiting for its message."""
        session = request.GET.get("session_id", "")
        if session:
            bought = purchases.purchase_finish(session_id=session)
            said = _("The payment is not through yet; the credit is here as soon as it is.")
            if bought is not None:
                said = _("%(amount)s of credit is here.") % {"amount": money(bought.amount_nano)}
            return self.done(self.org_path("wallet"), said)
        return self.show()

    def show(
        self,
        account: AccountForm | None = None,
        buy: BuyForm | None = None,
        status: int = 200,
        *,
        slow: SlowForm | None = None,
        topup: TopUpForm | None = None,
    ) -> HttpResponseBase:
        """The page around its forms."""
        row = WalletRow.objects.first()
        auto = topup_view()
        grants = wallet.in_turn(wallet.grants_left())
        entries = wallet.statement(SHOWN + 1)
        context: dict[str, Any] = {
            "account_form": account or AccountForm(initial={"postpaid": row.postpaid_nano if row else None}),
            "buy_form": buy or BuyForm(),
            "slow_form": slow or SlowForm(initial={"slow_below": row.slow_nano if row else None}),
            "slow": row.slow_nano if row else None,
            "topup_form": topup or TopUpForm(initial=_agreed(auto)),
            "auto": auto,
            "failed_words": failure_words(auto.failed) if auto.failed else "",
            "consent_text": CONSENT,
            "balance": wallet.balance_nano(),
            "grants": [(one, KINDS[one.kind]) for one in grants],
            "entries": [(one, WHAT[one.what], KINDS[one.kind]) for one in entries[:SHOWN]],
            "more": len(entries) > SHOWN,
            "funds": budgets.budget_month(scope=budgets.WALLET, scope_id=self.tenant.pk.hex),
            "postpaid": wallet.postpaid_nano(),
            "most": row.postpaid_most_nano if row else None,
            "least_buy": purchases.LEAST,
            "most_buy": purchases.MOST,
            "can_change": self.can("billing.write"),
            "crumbs": [{"label": _("Billing"), "href": self.org_path("billing")}],
        }
        response = self.page(context, status=status)
        response.headers["Content-Security-Policy"] = policy()
        return response


def _agreed(auto: TopUpView) -> dict[str, Any] | None:
    """What was agreed last, for the form."""
    if auto.auto is None:
        return None
    agreed = auto.auto.consent
    return {"below": agreed.below_nano, "amount": agreed.amount_nano, "month_most": agreed.month_most_nano}


class Statement(Download):
    """Everything that came and went, as a file."""

    section = "billing"
    required_scopes = {"GET": "billing.read"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Send it."""
        head = ["day", "what", "credit", "usage_of", in_name("amount_nano_usd"), "reason"]
        lines = [
            [one.day, one.what, one.kind, f"{one.period:%Y-%m}" if one.period else "", one.amount_nano, one.reason]
            for one in wallet.statement()
        ]
        return csv_response(f"wallet-{now():%Y-%m-%d}.csv", head, lines)


class Account(Wallet):
    """Set how far the organisation goes on account."""

    required_scopes = {"GET": "billing.read", "POST": "billing.write"}
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Set it, or lift it."""
        form = AccountForm(request.POST)
        if form.is_valid():
            nano = form.cleaned_data["postpaid"]
            if self.attempt(form, lambda: postpaid_set(nano=nano)) is not None:
                said = _("Saved. It holds within a few seconds.")
                return self.done(self.org_path("wallet"), said)
        return self.show(account=form, status=422)


class Buy(Wallet):
    """Buy credit: Stripe's page takes the money."""

    required_scopes = {"GET": "billing.read", "POST": "billing.write"}
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Go to the payment page."""
        form = BuyForm(request.POST)
        here = request.build_absolute_uri(self.org_path("wallet"))
        if form.is_valid():
            amount = form.cleaned_data["amount"]
            command = self.attempt(
                form,
                lambda: purchases.purchase_start(
                    amount_nano=amount, success_url=f"{here}?session_id={{CHECKOUT_SESSION_ID}}", cancel_url=here
                ),
            )
            if command is not None:
                return Outside(lambda: command_finish(command), self._go)
        return self.show(buy=form, status=422)

    def _go(self, command: StripeCommand) -> HttpResponseBase:
        if command.answer is None:
            raise PaymentsAway
        return redirect(command.answer["url"])


class Slow(Wallet):
    """Set at how much left calls are slowed."""

    required_scopes = {"GET": "billing.read", "POST": "billing.write"}
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Set it, or lift it."""
        form = SlowForm(request.POST)
        if form.is_valid() and self.attempt(form, lambda: slow_set(nano=form.cleaned_data["slow_below"])) is not None:
            return self.done(self.org_path("wallet"), _("Saved. It holds within a few seconds."))
        return self.show(slow=form, status=422)


class TopUp(Wallet):
    """Turn automatic top-up on, change it, or turn it off."""

    required_scopes = {"GET": "billing.read", "POST": "billing.write"}
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Do it; a purchase that is due goes out by itself."""
        if request.POST.get("action") == "stop":
            topup_stop()
            return self.done(self.org_path("wallet"), _("Automatic top-up is off."))
        form = TopUpForm(request.POST)
        if form.is_valid():
            data, auth = form.cleaned_data, self.auth
            made = self.attempt(
                form,
                lambda: topup_set(
                    below_nano=data["below"],
                    amount_nano=data["amount"],
                    month_most_nano=data["month_most"],
                    agreed=data["consent"],
                    by=(auth.actor_kind, auth.actor_id, auth.actor_label),
                ),
            )
            if made is not None:
                return self.done(self.org_path("wallet"), _("Automatic top-up is on."))
        return self.show(topup=form, status=422)
