"""Announcements: those that run, are to come and are over, and the form for another."""

import datetime as dt
from typing import Any
from uuid import UUID

from django import forms
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from billing.selectors.subscriptions import plans_offered
from customers.limits import ANNOUNCEMENT, TITLE
from customers.models import Announcement
from customers.selectors.announcements import announcements
from customers.selectors.customers import tags_known
from kit.clock import now
from kit.errors import ApiError, Conflict, NotFound
from ops import care
from ops.customers import answer, staff_of

SIZE = 50
LATEST = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)


class AnnouncementForm(forms.Form):
    """What, to whom, from when until when."""

    title = forms.CharField(label=_("Title"), max_length=TITLE)
    text = forms.CharField(
        label=_("Text"), required=False, max_length=ANNOUNCEMENT, widget=forms.Textarea(attrs={"rows": 3})
    )
    link = forms.CharField(
        label=_("Link"),
        required=False,
        max_length=300,
        help_text=_("A path such as /docs/sweeps, or an https address."),
    )
    plans = forms.MultipleChoiceField(
        label=_("Plans"), required=False, help_text=_("None chosen: all."), widget=forms.CheckboxSelectMultiple
    )
    tags = forms.MultipleChoiceField(
        label=_("Tags"),
        required=False,
        help_text=_("None chosen: every customer of those plans; else those with any of them."),
        widget=forms.CheckboxSelectMultiple,
    )
    starts_at = forms.DateTimeField(
        label=_("From (UTC)"),
        required=False,
        help_text=_("Empty: now."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    ends_at = forms.DateTimeField(
        label=_("Until (UTC)"),
        required=False,
        help_text=_("Empty: until it is withdrawn."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        choices = {
            "plans": [(plan.code, plan.name) for plan in plans_offered()],
            "tags": [(name, f"{name} ({n})") for name, n in tags_known()],
        }
        for name, known in choices.items():
            field = self.fields[name]
            assert isinstance(field, forms.MultipleChoiceField)  # noqa: S101
            field.choices = known
        if not choices["tags"]:
            del self.fields["tags"]

    def clean(self) -> dict[str, Any]:
        """Moments that the calendar goes on after."""
        data: dict[str, Any] = super().clean() or {}
        for name in ("starts_at", "ends_at"):
            if data.get(name) and data[name] >= LATEST:
                self.add_error(name, _("Choose a moment before the year 2999."))
        return data


def page(request: HttpRequest) -> HttpResponseBase:
    """The list and the form; a POST announces or withdraws."""
    form = AnnouncementForm()
    if request.method == "POST":
        by = staff_of(request, "on the page of announcements")
        try:
            if request.POST.get("do") == "withdraw":
                care.withdraw(announcement_id=_uuid(request.POST.get("id", "")), by=by)
                return redirect(request.path)
            form = AnnouncementForm(request.POST)
            if form.is_valid():
                care.announce(values=form.cleaned_data, by=by)
                return redirect(request.path)
        except Conflict:  # withdrawn meanwhile, which is what was wanted
            return redirect(request.path)
        except NotFound as error:
            raise Http404 from error
        except ApiError as error:
            form.add_error(error.param if error.param in form.fields else None, error.message)
    here = Paginator(announcements(), SIZE).get_page(request.GET.get("page"))
    context = {"form": form, "page": here, "rows": [(row, *_state(row)) for row in here]}
    return answer(request, "ops/customers/announcements.html", context, 422 if request.method == "POST" else 200)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound.of(text[:40]) from error


def _state(row: Announcement) -> tuple[Any, str, bool]:
    """In words, with a tone, and whether it can still be withdrawn."""
    moment = now()
    if row.withdrawn_at is not None:
        return _("Withdrawn"), "muted", False
    if row.ends_at is not None and row.ends_at <= moment:
        return _("Over"), "muted", False
    return (_("To come"), "warn", True) if row.starts_at > moment else (_("Shown"), "ok", True)
