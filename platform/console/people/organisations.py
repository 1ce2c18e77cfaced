"""Coming in: which organisation to open, and making one."""

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views import View
from django.views.decorators.http import require_safe

from console import currencies
from kit.errors import ApiError
from kit.money import currency
from tenants.access import Membership, memberships_of
from tenants.models import Role, User
from tenants.scope import tenant_scope
from tenants.services.organisations import tenant_create

MOST_OWNED = 10
"""Organisations one person may own; more is a matter for support."""
LAST = "organisation"
"""Session key of the slug of the organisation opened last, written by `console.views.home`."""


class NewOrganisationForm(forms.Form):
    """The question of a first sign-in, and a second one where more than one currency is sold."""

    name = forms.CharField(
        label=_("Name of the organisation"),
        max_length=100,
        help_text=_("A company, a team or yourself. You can change it later."),
        widget=forms.TextInput(attrs={"autocomplete": "organization", "autofocus": True}),
    )
    currency = forms.ChoiceField(
        label=_("Currency"),
        help_text=_("What it pays in. It cannot be changed later, and each currency has prices of its own."),
        widget=forms.RadioSelect,
        error_messages={"required": _("Choose a currency."), "invalid_choice": _("Choose one of these currencies.")},
    )

    def __init__(self, *args: Any, likely: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.sold = currencies.sold()
        choice: Any = self.fields["currency"]
        choice.choices = [(code, currencies.label(code)) for code in self.sold]
        choice.initial = likely
        if len(self.sold) == 1:
            del self.fields["currency"]

    @property
    def chosen(self) -> str:
        """The currency of the one that is to be made."""
        return str(self.cleaned_data.get("currency") or self.sold[0])


def _seats(request: HttpRequest) -> list[Membership]:
    assert request.user.pk is not None  # noqa: S101 - behind login_required
    return [seat for seat in memberships_of(request.user.pk) if seat.tenant_status != "closed"]


def _told_apart(seats: list[Membership]) -> list[tuple[Membership, str]]:
    """Each with its currency, where they are not all in the same one."""
    codes = []
    for seat in seats:
        with tenant_scope(seat.tenant_id):
            codes.append(currency())
    several = len(set(codes)) > 1
    return [(seat, code.upper() if several else "") for seat, code in zip(seats, codes, strict=True)]


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The organisation opened last, or the only one; a choice of several; the first question when there is none."""
    invited = request.session.pop("invitation", None)
    if invited:
        return redirect("console:invitation", invited)
    seats = _seats(request)
    if not seats:
        return redirect("console:organisation_new")
    last = request.session.get(LAST)
    slugs = [seat.tenant_slug for seat in seats]
    if "all" not in request.GET and (last in slugs or len(slugs) == 1):
        return redirect("console:organisation", last if last in slugs else slugs[0])
    return render(request, "people/organisations.html", {"seats": _told_apart(seats), "last": last})


class NewOrganisation(LoginRequiredMixin, View):
    """`/o/new`."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask."""
        likely = currencies.likely(request.headers.get("Accept-Language", ""))
        return self._page(NewOrganisationForm(likely=likely))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make it and go there."""
        form = NewOrganisationForm(request.POST)
        owned = sum(seat.role == Role.OWNER for seat in _seats(request))
        if form.is_valid() and owned >= MOST_OWNED:
            limit = _("You own %(n)s organisations, which is the limit. Close one, or write to support.")
            form.add_error("name", limit % {"n": owned})
        if form.is_valid():
            owner = request.user
            assert isinstance(owner, User)  # noqa: S101 - LoginRequiredMixin
            try:
                made = tenant_create(name=form.cleaned_data["name"], owner=owner, currency=form.chosen)
            except ApiError as error:
                form.add_error("name", error.message)
            else:
                return redirect("console:organisation", made.tenant.slug)
        return self._page(form, status=422)

    def _page(self, form: NewOrganisationForm, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {"form": form, "seats": _seats(self.request)}
        return render(self.request, "people/organisation_new.html", context, status=status)
