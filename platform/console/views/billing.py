"""Plan, payment and invoices. Money moves at Stripe; this page shows the mirror and opens Stripe's own pages."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.errors import PaymentsAway
from billing.models import StripeCommand, Subscription
from billing.plans import INTERVALS, Plan, plan_book
from billing.selectors import bills, budgets, limits, subscriptions, trials
from billing.selectors.commands import commands_pending
from billing.selectors.features import FEATURES
from billing.services import subscriptions as services
from billing.services.commands import command_finish
from billing.services.limits import spend_limit_set
from billing.services.pins import pin_make, pin_read
from billing.services.trials import then_charged
from console import pricing
from console.fields import AmountField, slow_field
from console.views.base import ConsoleView, Outside
from kit.clock import now
from kit.errors import Unprocessable
from kit.money import currency

HOSTED = ("https://checkout.stripe.com", "https://billing.stripe.com", "https://invoice.stripe.com")


def payment_hosts() -> tuple[str, ...]:
    """Where a form of the billing page may lead: Stripe's pages, or the local emulator's."""
    if settings.EMBEDDED_STRIPE:
        port = settings.STRIPE_EMULATOR_PORT
        return (f"http://127.0.0.1:{port}", f"http://localhost:{port}", settings.STRIPE_API_BASE)
    return HOSTED


def policy() -> str:
    """The strict policy, with the payment pages as form targets: a form's redirect is held to it as well."""
    base: str = settings.CONTENT_SECURITY_POLICY
    return base.replace("form-action 'self'", "form-action 'self' " + " ".join(dict.fromkeys(payment_hosts())))


def _trial(current: Subscription | None) -> dict[str, Any]:
    """How a trial stands: `runs` until its end or `rests` after it, what comes then, and whether a card is known."""
    if current is None or current.trial_end is None:
        return {}
    if current.status not in ("trialing", subscriptions.PAUSED):
        return {}
    known = trials.card_known(current)
    if current.status == subscriptions.PAUSED and (known or current.trial_end > now()):
        return {}
    plan = plan_book().plans.get((current.plan, current.plan_version))
    return {
        "state": "runs" if current.status == "trialing" else "rests",
        "ends": current.trial_end,
        "card": known,
        "then": then_charged(current) if plan is not None else "",
        "at_end": plan.trial.at_end if plan is not None and plan.trial is not None else "cancel",
    }


class Billing(ConsoleView):
    """The plan, what this month costs so far, and the invoices."""

    section = "billing"
    required_scopes = {"GET": "billing.read"}
    template_name = "console/billing.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it. Coming back from a checkout, look at Stripe at once instead of waiting for its message."""
        session = request.GET.get("session_id", "")
        if session:
            outcome = services.checkout_finish(session_id=session)
            if outcome.trial_refused:
                return redirect(self.org_path("billing"))  # which says why
            if outcome.status == "complete":
                return self.done(self.org_path("billing"), _("The plan is active."))
        initial = {"monthly_spend": limits.spend_limit(), "slow_from_percent": limits.slow_from_percent()}
        return self.show(LimitForm(initial=initial))

    def show(self, form: "LimitForm", status: int = 200) -> HttpResponseBase:
        """The page around the spend limit's form."""
        response = self.page(self._context() | {"limit_form": form}, status=status)
        response.headers["Content-Security-Policy"] = policy()
        return response

    def _context(self) -> dict[str, Any]:
        entitlement = subscriptions.entitlement_for(self.tenant.pk)
        current = subscriptions.subscription_held()
        plan = plan_book().get(entitlement.plan, entitlement.plan_version)
        own = subscriptions.interval_of(current) if current is not None else "month"
        every = self.request.GET.get("every") or own
        every = every if every in INTERVALS else own
        return {
            "plan": plan,
            "own_price": pricing.offer_of(plan, own),
            "entitlement": entitlement,
            "subscription": current,
            "customer": subscriptions.customer_current(),
            "budget": budgets.budget_month(),
            "own_limit": limits.spend_limit(),
            "preview": bills.invoice_preview(),
            "invoices": list(subscriptions.invoices()[:24]),
            "every": every,
            "ways": pricing.ways(every)["intervals"],
            "offers": [self._offer(offer, plan, current, every) for offer in subscriptions.plans_offered()],
            "can_change": self.can("billing.write"),
            "pending": commands_pending(),
            "trial": _trial(current),
            "lapsed": trials.trial_lapsed() if current is None else None,
            "trial_refused": trials.trial_refused(),
        }

    def _offer(self, offer: Plan, plan: Plan, current: Subscription | None, every: str) -> dict[str, Any]:
        """One plan with what its button does: subscribe, change, or nothing."""
        own = subscriptions.interval_of(current) if current is not None else every
        cents = offer.price(every, currency())
        same = offer.code == plan.code and (every == own or not cents)
        action = ""
        if not same and cents:
            action = "change" if current is not None else "subscribe"
            if current is not None and current.status == subscriptions.PAUSED:
                action = ""
        return {
            "plan": offer,
            "shown": pricing.offer_of(offer, every),
            "trial": trials.trial_due(offer) if current is None else None,
            "current": same,
            "action": action,
        }


class LimitForm(forms.Form):
    """What the organisation allows itself to spend in a month; empty for the plan's limit."""

    monthly_spend = AmountField(label=gettext_lazy("Monthly spend limit"))
    slow_from_percent = slow_field()
    api_names = {"monthly_spend_nano": "monthly_spend"}


class SpendLimit(Billing):
    """Set the organisation's own spend limit."""

    required_scopes = {"GET": "billing.read", "POST": "billing.write"}
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Set it, or lift it to the plan's."""
        form = LimitForm(request.POST)
        if form.is_valid():
            limit, slow = form.cleaned_data["monthly_spend"], form.cleaned_data["slow_from_percent"]
            if self.attempt(form, lambda: spend_limit_set(monthly_nano=limit, slow_percent=slow)) is not None:
                said = _("Spend limit saved. It holds within a few seconds.")
                if limit is None:
                    said = _("Your own spend limit is lifted; the plan's holds.")
                return self.done(self.org_path("billing"), said)
        return self.show(form, 422)


class Checkout(ConsoleView):
    """Start a subscription: Stripe's page takes the card."""

    section = "billing"
    required_scopes = {"POST": "billing.write"}

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Go to the hosted checkout."""
        here = request.build_absolute_uri(self.org_path("billing"))
        command = services.checkout_start(
            plan=request.POST.get("plan", ""),
            interval=request.POST.get("interval", "month"),
            code=request.POST.get("code", ""),
            success_url=f"{here}?session_id={{CHECKOUT_SESSION_ID}}",
            cancel_url=here,
        )
        return Outside(lambda: command_finish(command), self._go)

    def _go(self, command: StripeCommand) -> HttpResponseBase:
        if command.answer is None:
            raise PaymentsAway
        return redirect(command.answer["url"])


class Portal(ConsoleView):
    """Card, address and receipts stand on Stripe's own page."""

    section = "billing"
    required_scopes = {"POST": "billing.write"}
    works_suspended = True

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Go there."""
        ask = services.portal_start(return_url=request.build_absolute_uri(self.org_path("billing")))
        return Outside(ask, redirect)


class PlanChange(ConsoleView):
    """Move a running subscription to another plan, end it, or keep it after all."""

    section = "billing"
    required_scopes = {"GET": "billing.write", "POST": "billing.write"}
    template_name = "console/plan_change.html"

    def get(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """What a change to a plan would charge now, as Stripe reckons it, and what changes with it."""
        wanted = subscriptions.plan_named(request.GET.get("plan", ""))
        interval = request.GET.get("interval", "month")
        ask = services.plan_preview(plan=wanted.code, interval=interval)
        return Outside(ask, lambda charge: self._preview(wanted, interval, charge))

    def _preview(self, wanted: Plan, interval: str, charge: dict[str, Any]) -> HttpResponseBase:
        entitlement = subscriptions.entitlement_for(self.tenant.pk)
        current = subscriptions.subscription_current()
        own = subscriptions.interval_of(current) if current is not None else "month"
        plan = plan_book().get(entitlement.plan, entitlement.plan_version)
        page = self.page(
            {
                "plan": plan,
                "wanted": wanted,
                "interval": interval,
                "now": pricing.offer_of(plan, own),
                "then": pricing.offer_of(wanted, interval),
                "charge": charge,
                "pin": pin_make(plan=wanted.code, interval=interval, at=charge["at"]),
                "features": FEATURES,
                "crumbs": [{"label": _("Billing"), "href": self.org_path("billing")}],
            }
        )
        page.headers["Content-Security-Policy"] = policy()  # a card's owner may have to confirm on Stripe's page
        return page

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Do it and say when it holds."""
        action = request.POST.get("action", "")
        if action == "change":
            wanted = subscriptions.plan_named(request.POST.get("plan", ""))
            interval = request.POST.get("interval", "month")
            given = request.POST.get("at", "")
            at = pin_read(given, plan=wanted.code, interval=interval) if given else None
            command = services.plan_change(plan=wanted.code, interval=interval, at=at)
            said = _("The plan is now %(plan)s.") % {"plan": wanted.name}
            if command.operation != "plan_change":
                said = _("The plan ends with the period that is paid.")
        elif action == "cancel":
            command, said = services.subscription_cancel(), _("The plan ends with the period that is paid.")
        elif action == "pause":
            command, said = services.plan_pause(), _("The plan rests. The free plan applies until you resume it.")
        elif action == "resume":
            command, said = services.plan_resume(), _("The plan runs again.")
        elif action == "keep":
            command, said = services.subscription_keep(), _("The plan goes on.")
        else:
            raise Unprocessable(_("Choose a plan, then confirm the change."))
        return Outside(lambda: command_finish(command), lambda row: self._said(row, said))

    def _said(self, command: StripeCommand, said: str) -> HttpResponseBase:
        if command.answer is None:
            said = _("The payment provider has not answered yet. What you asked for is noted and will be done.")
        elif command.answer.get("confirm_url"):
            return redirect(command.answer["confirm_url"])
        return self.done(self.org_path("billing"), said)
