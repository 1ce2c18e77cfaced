"""Who invoices are made out to: legal name, address, tax ids."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models import StripeCommand
from billing.selectors import subscriptions
from billing.selectors.commands import commands_pending
from billing.services import details
from billing.services.commands import command_finish
from console.views.base import ConsoleView, Outside
from kit.errors import ApiError, Unprocessable

PARTS = ("line1", "line2", "postal_code", "city", "state", "country")
CHECKED: dict[str, tuple[str, Any]] = {
    "verified": ("ok", gettext_lazy("verified")),
    "unverified": ("danger", gettext_lazy("not known to the authority")),
    "pending": ("warn", gettext_lazy("being checked")),
}
"""Tone and words for what the payment provider's check of a tax id found; most kinds are not checked."""


class DetailsForm(forms.Form):
    """Name and address, as they stand on invoices."""

    name = forms.CharField(label=gettext_lazy("Legal name"), max_length=256)
    line1 = forms.CharField(label=gettext_lazy("Street and number"), max_length=200)
    line2 = forms.CharField(label=gettext_lazy("Addition"), max_length=200, required=False)
    postal_code = forms.CharField(label=gettext_lazy("Postal code"), max_length=20, required=False)
    city = forms.CharField(label=gettext_lazy("City"), max_length=100)
    state = forms.CharField(label=gettext_lazy("State or region"), max_length=100, required=False)
    country = forms.RegexField(
        label=gettext_lazy("Country"),
        regex=r"\A[A-Za-z]{2}\Z",
        help_text=gettext_lazy("Two letters, such as DE or US."),
        error_messages={"invalid": gettext_lazy("Two letters, such as DE or US.")},
    )

    def address(self) -> dict[str, str]:
        """The address as Stripe takes it."""
        found = {part: self.cleaned_data[part] for part in PARTS}
        return {**found, "country": found["country"].upper()}


class TaxIdForm(forms.Form):
    """A tax id to add."""

    type = forms.ChoiceField(
        label=gettext_lazy("Kind"),
        choices=[(kind, f"{name}: {example}") for kind, (name, example) in details.TAX_IDS.items()],
    )
    value = forms.CharField(label=gettext_lazy("Tax id"), max_length=100)


class Details(ConsoleView):
    """`/billing/details`: what stands on invoices, and its change."""

    section = "billing"
    required_scopes = {"GET": "billing.read", "POST": "billing.write"}
    template_name = "console/billing_details.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it."""
        return self.show()

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Change name and address, add a tax id, or remove one."""
        action = request.POST.get("action", "")
        if action == "details":
            form = DetailsForm(request.POST)
            if not form.is_valid():
                return self.show(form=form, status=422)
            name, address = form.cleaned_data["name"], form.address()
            said = _("Saved. It stands on invoices from now on.")
            return self._send(lambda: details.details_write(name=name, address=address), said, form=form)
        if action == "add":
            tax = TaxIdForm(request.POST)
            if not tax.is_valid():
                return self.show(tax=tax, status=422)
            kind, value = tax.cleaned_data["type"], tax.cleaned_data["value"]
            return self._send(lambda: details.tax_id_add(kind=kind, value=value), _("Tax id added."), tax=tax)
        if action == "remove":
            command = details.tax_id_remove(tax_id=request.POST.get("tax_id", ""))
            return Outside(lambda: command_finish(command), lambda row: self._said(row, _("Tax id removed.")))
        raise Unprocessable(_("Choose what to change."))

    def _send(self, write: Callable[[], StripeCommand], said: str, **given: forms.Form) -> HttpResponseBase | Outside:
        """Write the command and wait for its answer; a refusal stands beside the form's field."""
        (form,) = given.values()
        command = self.attempt(form, write)
        if command is None:
            return self.show(**given, status=422)

        def ask() -> StripeCommand | ApiError:
            try:
                return command_finish(command)
            except ApiError as error:
                return error

        def answer(found: StripeCommand | ApiError) -> HttpResponseBase:
            if isinstance(found, StripeCommand):
                return self._said(found, said)
            form.add_error("value" if "value" in form.fields else None, found.message)
            return self.show(**given, status=422)

        return Outside(ask, answer)

    def _said(self, command: StripeCommand, said: str) -> HttpResponseBase:
        if command.answer is None:
            said = _("The payment provider has not answered yet. What you asked for is noted and will be done.")
        return self.done(self.org_path("billing_details"), said)

    def show(
        self, *, form: forms.Form | None = None, tax: forms.Form | None = None, status: int = 200
    ) -> HttpResponseBase:
        """The page, around a form that is to be put right."""
        customer = subscriptions.customer_current()
        has = {"name": self.tenant.name} if customer is None else {"name": customer.legal_name, **customer.address}
        every = customer.tax_ids if customer is not None else []
        return self.page(
            {
                "form": form or DetailsForm(initial=has),
                "tax_form": tax or TaxIdForm(),
                "has": has,
                "tax_ids": [self._tax_id(one) for one in every],
                "room": len(every) < details.MOST_TAX_IDS,
                "can_change": self.can("billing.write"),
                "pending": commands_pending(),
                "crumbs": [{"label": _("Billing"), "href": self.org_path("billing")}],
            },
            status=status,
        )

    def _tax_id(self, one: dict[str, str]) -> dict[str, Any]:
        tone, checked = CHECKED.get(one["status"], ("", ""))
        name, _example = details.TAX_IDS.get(one["type"], (one["type"], ""))
        return {**one, "name": name, "tone": tone, "checked": checked}
