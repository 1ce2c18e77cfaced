"""Customers: the list that staff search, and one customer at a glance, with what staff note."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.selectors.subscriptions import plans_offered
from customers.health import Facts
from customers.limits import NOTE, TAG
from customers.models import HealthScore
from customers.selectors import customers as selectors
from kit import charts
from kit.errors import ApiError, NotFound
from kit.http import client_ip
from kit.money import in_currency
from ops import care
from ops.services import Staff
from tenants.models import Tenant, User

SIZE = 50
ORDERS = (("newest", _("Newest first")), ("health", _("Worst health first")), ("name", _("Name")))
PARTS = {
    "recency": _("Last call"),
    "trend": _("Calls against the 28 days before"),
    "serving": _("A model is deployed"),
    "payment": _("Payment"),
    "jobs": _("Jobs that did not fail"),
    "support": _("Questions that wait for us"),
    "satisfaction": _("What members answered"),
}


class NoteForm(forms.Form):
    """Something to know."""

    text = forms.CharField(
        label=_("Note"),
        max_length=NOTE,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("For staff alone; no page of the customer's can show it."),
    )


class TagForm(forms.Form):
    """A word."""

    tag = forms.CharField(label=_("Tag"), max_length=TAG, widget=forms.TextInput(attrs={"list": "tags-known"}))


class Filters(forms.Form):
    """What the list is narrowed to."""

    q = forms.CharField(label=_("Search"), required=False, max_length=100)
    tag = forms.ChoiceField(label=_("Tag"), required=False)
    health = forms.ChoiceField(label=_("Health"), required=False)
    plan = forms.ChoiceField(label=_("Plan"), required=False)
    status = forms.ChoiceField(label=_("Status"), required=False)
    order = forms.ChoiceField(label=_("Order"), required=False, choices=ORDERS)

    def __init__(self, data: Any, *, tags: list[tuple[str, int]]) -> None:
        super().__init__(data)
        statuses = [one for one in Tenant.Status.choices if one[0] != Tenant.Status.ERASED]
        choices: dict[str, list[tuple[str, Any]]] = {
            "tag": [(name, f"{name} ({n})") for name, n in tags],
            "health": list(HealthScore.Band.choices),
            "plan": [(plan.code, plan.name) for plan in plans_offered()],
            "status": statuses,
        }
        for name, known in choices.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101
            field.choices = [("", _("Any")), *known]

    def wanted(self) -> selectors.Wanted:
        """What can be understood of it; anything odd narrows nothing."""
        self.is_valid()
        given = getattr(self, "cleaned_data", {})
        return selectors.Wanted(
            text=given.get("q", ""),
            tag=given.get("tag", ""),
            band=given.get("health", ""),
            plan=given.get("plan", ""),
            status=given.get("status", ""),
            order=given.get("order") or "newest",
        )


def answer(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> TemplateResponse:
    """A page from our own components, under the policy of every product page."""
    headers = {"Content-Security-Policy": settings.CONTENT_SECURITY_POLICY}
    return TemplateResponse(request, template, context, status=status, headers=headers)


def staff_of(request: HttpRequest, reason: str) -> Staff:
    """Who acts; what they do says why."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the site's door
    return Staff(user=user, reason=reason, ip=client_ip(request))


def page(request: HttpRequest) -> HttpResponseBase:
    """The list."""
    tags = selectors.tags_known()
    filters = Filters(request.GET, tags=tags)
    wanted = filters.wanted()
    here = Paginator(selectors.customers(wanted), SIZE).get_page(request.GET.get("page"))
    asked = [name for name in ("q", "tag", "health", "plan", "status") if request.GET.get(name)]
    context = {
        "filters": filters,
        "filtered": bool(asked),
        "page": here,
        "lines": selectors.lines(here),
    }
    return answer(request, "ops/customers/list.html", context)


def customer(request: HttpRequest, tenant: UUID) -> HttpResponseBase:
    """One customer; a POST keeps or removes a note or a tag."""
    try:
        row = selectors.customer_by_id(tenant)
    except NotFound as error:
        raise Http404 from error
    note, tag = NoteForm(), TagForm()
    if request.method == "POST":
        done, note, tag = _done(request, row)
        if done:
            return redirect(reverse("admin:customer", args=[row.pk]))
    context = _shown(row) | {"note": note, "tag": tag, "more_forms": [tag]}
    with in_currency(row.currency):
        page = answer(request, "ops/customers/customer.html", context, 422 if request.method == "POST" else 200)
        return page.render()


def _done(request: HttpRequest, row: Tenant) -> tuple[bool, NoteForm, TagForm]:
    """Do what the button says; whether it was done, and the forms with what was wrong."""
    note, tag = NoteForm(), TagForm()
    by = staff_of(request, "on the customer's page")
    what = request.POST.get("do", "")
    try:
        if what == "note":
            note = NoteForm(request.POST)
            if note.is_valid():
                care.note_add(tenant=row, text=note.cleaned_data["text"], by=by)
        elif what == "tag":
            tag = TagForm(request.POST)
            if tag.is_valid():
                care.tag_add(tenant=row, name=tag.cleaned_data["tag"], by=by)
        elif what == "note_remove":
            care.note_remove(tenant=row, note_id=_uuid(request.POST.get("note", "")), by=by)
        elif what == "tag_remove":
            care.tag_remove(tenant=row, name=request.POST.get("tag", "")[: TAG + 1], by=by)
        else:
            return True, note, tag
    except NotFound as error:  # somebody else was faster
        messages.warning(request, error.message)
        return True, note, tag
    except ApiError as error:
        form: forms.Form = tag if what == "tag" else note
        form.add_error(error.param if error.param in form.fields else None, error.message)
    return not (note.errors or tag.errors), note, tag


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound("This note is not there any more.") from error


def _ago(days: int | None) -> str:
    if days is None:
        return gettext("none in 56 days")
    return gettext("%(n)s days ago") % {"n": days} if days else gettext("today")


def _waits(days: int | None) -> str:
    if days is None:
        return gettext("none waits")
    return gettext("the first waits %(n)s days") % {"n": days} if days else gettext("the first waits less than a day")


def _said(facts: Facts) -> dict[str, Any]:
    """What stands behind each part of the score."""
    given = facts.satisfaction
    return {
        "recency": _ago(facts.days_since_call),
        "trend": gettext("%(now)s against %(before)s")
        % {"now": f"{facts.calls:,}", "before": f"{facts.calls_before:,}"},
        "serving": gettext("%(n)s deployed") % {"n": facts.live_deployments},
        "payment": facts.standing,
        "jobs": gettext("%(failed)s of %(ended)s failed") % {"failed": facts.jobs_failed, "ended": facts.jobs_ended},
        "support": _waits(facts.waiting_days),
        "satisfaction": "" if given is None else gettext("%(n)s of 10") % {"n": f"{float(given):.1f}"},
    }


def _shown(row: Tenant) -> dict[str, Any]:
    glance = selectors.glance(row)
    said = _said(glance.facts)
    calls = sum(n for _day, n in glance.calls_by_day)
    return {
        "tenant": row,
        "band_label": dict(HealthScore.Band.choices)[glance.health.band],
        "glance": glance,
        "parts": [(PARTS[part.name], said[part.name], part) for part in glance.health.parts],
        "calls": calls,
        "bars": charts.bar_chart(
            id="calls",
            title=gettext("Calls a day, 28 days"),
            finding=gettext("%(n)s calls in 28 days.") % {"n": f"{calls:,}"},
            keys=[gettext("calls")],
            columns=[charts.Column(f"{day:%-d %b}", [float(n)]) for day, n in glance.calls_by_day],
        ),
        "tags_known": [name for name, _n in selectors.tags_known()],
        "open_to_visits": row.status not in (Tenant.Status.CLOSED, Tenant.Status.ERASED),
    }
