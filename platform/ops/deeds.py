"""Deeds: what staff may do to a row. A table names its deeds; each becomes a button on the row's page and a page of its
own that asks why, calls one function of `ops.services`, and shows what the service refused.

A deed needs a second factor shown within the last ten minutes; see `ops.door`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from kit.errors import ApiError
from kit.http import client_ip
from kit.money import in_currency
from ops import door, saying
from ops.forms import ReasonForm
from ops.services import Staff
from ops.tables import ReadOnly
from tenants.models import User

Work = Callable[[Staff, Any, Any], Any]
"""(who and why, the row, the filled-in form) -> what the service made."""


def _always(row: Any) -> bool:
    return True


def _no_problem(made: Any) -> str:
    return ""


def _nothing(row: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One deed. `name` is a word of its address; `title` the button's verb; `text` says what will follow."""

    name: str
    title: Any
    text: Any
    icon: str
    work: Work
    form: type[ReasonForm] = ReasonForm
    options: Callable[[Any], dict[str, Any]] = _nothing
    """Arguments of the form, made from the row."""
    offered: Callable[[Any], bool] = _always
    """Whether the row's page shows the button; the service decides whether it may be done."""
    problem: Callable[[Any], str] = _no_problem
    """(what the service made) -> why it did not help although it was done; empty when it did."""
    outcome: Callable[[Any], str] = _no_problem
    """(what the service made) -> what to say of it beside that it was done; empty for nothing."""
    leads_to: Callable[[HttpRequest, Any, Any], HttpResponseBase] | None = None
    """(request, row, what the service made) -> the answer after it was done; the row's page by default."""


class DeedTable(ReadOnly):
    """A table whose rows can be acted on through its `deeds`."""

    deeds: ClassVar[tuple[Deed, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for deed in cls.deeds:
            setattr(cls, deed.name, _page_of(deed))
        cls.actions_detail = tuple(deed.name for deed in cls.deeds)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Buttons of the deeds that make sense for the row as it is."""
        row = self.get_object(request, str(object_id))
        offered = {self.get_unfold_action(deed.name).action_name for deed in self.deeds if row and deed.offered(row)}
        return [one for one in super().get_actions_detail(request, object_id) if one.action_name in offered]

    def ask(self, request: HttpRequest, object_id: str, deed: Deed) -> HttpResponseBase:
        """The page that asks why; on POST the work, then back to the row. Amounts are in the row's currency."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        with in_currency(saying.currency_of(row)):
            answer = self._asked(request, row, deed)
            return answer.render() if isinstance(answer, TemplateResponse) else answer

    def _asked(self, request: HttpRequest, row: Any, deed: Deed) -> HttpResponseBase:
        if not door.is_confirmed(request):
            return redirect(f"{reverse('admin:login')}?{urlencode({'next': request.path})}")
        form = deed.form(request.POST if request.method == "POST" else None, **deed.options(row))
        done, made = self._worked(request, form, deed, row) if form.is_valid() else (False, None)
        if done and deed.leads_to is not None:
            return deed.leads_to(request, row, made)
        if done:
            problem = deed.problem(made)
            if problem:
                messages.warning(request, problem)
            else:
                said = _("Done: %(title)s.") % {"title": deed.title}
                messages.success(request, f"{said} {deed.outcome(made)}".strip())
            return redirect(self.row_url(row))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{deed.title}: {row}",
            "text": deed.text,
            "form": form,
            "opts": self.model._meta,
            "back": self.row_url(row),
            "verb": deed.title,
        }
        status = 422 if request.method == "POST" else 200
        return TemplateResponse(request, "ops/action.html", context, status=status)

    def _worked(self, request: HttpRequest, form: forms.Form, deed: Deed, row: Any) -> tuple[bool, Any]:
        user = request.user
        assert isinstance(user, User)  # noqa: S101 - the site's door
        by = Staff(user=user, reason=form.cleaned_data["reason"], ip=client_ip(request))
        try:
            return True, deed.work(by, row, form)
        except ApiError as error:
            form.add_error(error.param if error.param in form.fields else None, error.message)
            return False, None

    def row_url(self, row: Any) -> str:
        """The row's own page."""
        return reverse(f"admin:{self.model._meta.app_label}_{self.model._meta.model_name}_change", args=[row.pk])


def _page_of(deed: Deed) -> Any:
    """The view of a deed, as Unfold wants its actions."""

    def view(self: DeedTable, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self.ask(request, object_id, deed)

    view.__name__, view.__doc__ = deed.name, str(deed.text)
    return action(view, description=deed.title, url_path=deed.name.replace("_", "-"), icon=deed.icon)
