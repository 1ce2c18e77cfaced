"""Seats: how many are in use and paid, and buying or giving some back, with the price before the click."""

from typing import Any

from django import forms
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from billing.models import StripeCommand
from billing.selectors import seats as selectors
from billing.selectors.commands import commands_pending
from billing.selectors.subscriptions import subscription_current
from billing.services import seats as services
from billing.services.commands import command_finish
from billing.services.pins import LIFE, from_what
from console.fields import WholeField
from console.views.base import ConsoleView, Outside
from console.views.billing import policy
from kit.errors import Conflict
from kit.money import currency, price

PIN = "console.seats"


class SeatsForm(forms.Form):
    """How many seats to have beyond those that the plan includes."""

    seats = WholeField(label=gettext_lazy("Seats to buy"), min_value=0, max_value=services.MOST)


class _Seats(ConsoleView):
    section = "billing"
    template_name = "console/seats.html"

    def show(self, form: SeatsForm, status: int = 200) -> HttpResponseBase:
        """The page around its form."""
        seats = selectors.seats_now()
        context: dict[str, Any] = {
            "form": form,
            "seats": seats,
            "free": max(0, seats.room - seats.used),
            "each": price(seats.price_cents or 0, currency()),
            "all": price((seats.price_cents or 0) * seats.bought, currency()),
            "can_change": self.can("billing.write"),
            "pending": commands_pending(),
            "crumbs": [{"label": _("Billing"), "href": self.org_path("billing")}],
        }
        return self.page(context, status=status)


class Seats(_Seats):
    """What is in use, what is included, what is paid."""

    required_scopes = {"GET": "billing.read"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it."""
        return self.show(SeatsForm(initial={"seats": selectors.seats_now().bought}))


class SeatsChange(_Seats):
    """What another number of seats costs now, and having it."""

    required_scopes = {"GET": "billing.write", "POST": "billing.write"}

    def get(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """The price of the change, as Stripe reckons it."""
        form = SeatsForm(request.GET)
        if form.is_valid():
            wanted = form.cleaned_data["seats"]
            ask = self.attempt(form, lambda: services.seats_preview(seats=wanted))
            if ask is not None:
                return Outside(ask, lambda charge: self._preview(wanted, charge))
        return self.show(form, 422)

    def _preview(self, wanted: int, charge: dict[str, Any]) -> HttpResponseBase:
        seats = selectors.seats_now()
        each = seats.price_cents or 0
        page = self.page(
            {
                "seats": seats,
                "wanted": wanted,
                "room": seats.room + wanted - seats.bought,
                "now": price(each * seats.bought, currency()),
                "then": price(each * wanted, currency()),
                "charge": charge,
                "pin": signing.dumps([wanted, *self._of(), charge["at"]], salt=PIN),
                "crumbs": [
                    {"label": _("Billing"), "href": self.org_path("billing")},
                    {"label": _("Seats"), "href": self.org_path("seats")},
                ],
            },
            template="console/seats_change.html",
        )
        page.headers["Content-Security-Policy"] = policy()  # a card's owner may have to confirm on Stripe's page
        return page

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Have it, at the price that was shown."""
        wanted, at = self._pinned(request.POST.get("pin", ""))
        command = services.seats_change(seats=wanted, at=at)
        return Outside(lambda: command_finish(command), lambda row: self._said(row, wanted))

    def _of(self) -> list[str]:
        """What a price is shown for: whose seats, and beside which plan."""
        return [self.tenant.pk.hex, from_what(subscription_current())]

    def _pinned(self, given: str) -> tuple[int, int | None]:
        """What was shown: how many, and the second that its price counted from. Conflict where it is old, of another
        organisation, or the seats or their plan have changed since."""
        try:
            wanted, *shown, at = signing.loads(given, salt=PIN, max_age=LIFE)
        except (signing.BadSignature, ValueError, TypeError):
            raise Conflict(_("The price shown is older than a quarter of an hour. Look at the change again.")) from None
        if shown != self._of():
            raise Conflict(_("The seats or the plan have changed since the price was shown. Look at it again."))
        return wanted, at

    def _said(self, command: StripeCommand, wanted: int) -> HttpResponseBase:
        if command.answer is None:
            said = _("The payment provider has not answered yet. What you asked for is noted and will be done.")
        elif command.answer.get("confirm_url"):
            return redirect(command.answer["confirm_url"])
        else:
            said = ngettext("There is now %(n)s bought seat.", "There are now %(n)s bought seats.", wanted) % {
                "n": wanted
            }
        return self.done(self.org_path("seats"), said)
