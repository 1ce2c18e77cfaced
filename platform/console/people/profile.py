"""The person's own profile: the name others see, and what they hear of by e-mail."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.views import View

from customers.services.contacts import news_set, news_wanted
from kit.errors import ApiError
from tenants.access import memberships_of
from tenants.models import User
from tenants.services.users import user_change


class ProfileForm(forms.Form):
    """The display name, and mail."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        required=False,
        help_text=_("Shown to members of your organisations."),
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    job_mail = forms.BooleanField(
        label=_("E-mail me about my jobs"),
        help_text=_("When a job I started here has succeeded or failed, or has stopped and needs me."),
        required=False,
    )
    news_mail = forms.BooleanField(
        label=_("E-mail me hints for getting started and about my plan"),
        help_text=_("A few, each once. Mail about your account, jobs, limits, invoices and support comes anyway."),
        required=False,
    )


class ProfilePage(LoginRequiredMixin, View):
    """`/account/`."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show it."""
        user = self._user()
        wanted = {"name": user.name, "job_mail": user.job_mail, "news_mail": news_wanted(user_id=user.pk)}
        return self._page(ProfileForm(initial=wanted))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Save it."""
        form = ProfileForm(request.POST)
        if form.is_valid():
            try:
                news = form.cleaned_data.pop("news_mail")
                user_change(user=self._user(), **form.cleaned_data)
                news_set(user_id=self._user().pk, wanted=news)
            except ApiError as error:
                form.add_error("name", error.message)
            else:
                messages.success(request, _t("Saved."))
                return redirect("console:account")
        return self._page(form, status=422)

    def _user(self) -> User:
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - LoginRequiredMixin
        return user

    def _page(self, form: ProfileForm, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {"form": form, "seats": _open_seats(self._user())}
        return render(self.request, "people/profile.html", context, status=status)


def _open_seats(user: User) -> list[Any]:
    return [seat for seat in memberships_of(user.pk) if seat.tenant_status != "closed"]
