"""The economics pages: what was earned, who stayed, who came, what they are worth. Every figure has a CSV."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.periods import month_of, next_month
from billing.selectors.acquisition import first_spend
from billing.selectors.recurring import first_month
from kit.clock import now
from kit.csvs import csv_response
from kit.errors import ApiError
from kit.http import client_ip
from kit.money import usd
from ops import acquisition_page, economics_page, funnel_page, margin_page, planning, retention_page, services
from ops.acquisition_page import SpendForm
from tenants.models import Tenant, User

Given = Mapping[str, str]
"""The rest of the address."""
Context = Callable[[dt.date, Given], dict[str, Any]]
Rows = Callable[[dt.date, Given], tuple[tuple[str, ...], list[tuple[Any, ...]]]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page for a month: its template, what it shows, and the same as a table, exactly."""

    name: str
    title: Any
    template: str
    context: Context
    rows: Rows


PAGES: dict[str, Page] = {
    page.name: page
    for page in (
        Page(
            "economics",
            gettext_lazy("Recurring revenue"),
            "ops/economics/revenue.html",
            economics_page.context,
            economics_page.rows,
        ),
        Page(
            "retention",
            gettext_lazy("Retention"),
            "ops/economics/retention.html",
            retention_page.context,
            retention_page.rows,
        ),
        Page(
            "funnel",
            gettext_lazy("Funnel"),
            "ops/economics/funnel.html",
            funnel_page.context,
            funnel_page.rows,
        ),
        Page(
            "acquisition",
            gettext_lazy("Lifetime value"),
            "ops/economics/acquisition.html",
            acquisition_page.context,
            acquisition_page.rows,
        ),
        Page(
            "margin",
            gettext_lazy("Margin"),
            "ops/economics/margin.html",
            margin_page.context,
            margin_page.rows,
        ),
    )
}


def page(request: HttpRequest, name: str, more: Mapping[str, Any] | None = None, status: int = 200) -> HttpResponseBase:
    """One of the pages, for the month of the address or the current one."""
    shown = PAGES[name]
    known = months_known()
    month = asked(request, known)
    context: dict[str, Any] = {
        "title": shown.title,
        "tabs": _tabs(name, month),
        "months": known,
        "month": month or known[0],
        "running": month == known[0],
        "unknown": month is None,
        "csv": f"{reverse('admin:economics_csv', args=[name])}?month={month or known[0]:%Y-%m}",
        **shown.context(month or known[0], request.GET),
        **(more or {}),
    }
    return TemplateResponse(
        request,
        shown.template,
        context,
        status=422 if month is None else status,
        headers={"Content-Security-Policy": settings.CONTENT_SECURITY_POLICY},
    )


def acquisition(request: HttpRequest) -> HttpResponseBase:
    """Lifetime value and acquisition cost; a POST enters what was spent."""
    form = SpendForm(initial={"month": f"{now():%Y-%m}"})
    if request.method != "POST":
        return page(request, "acquisition", {"form": form})
    form = SpendForm(request.POST)
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the site's door
    if form.is_valid():
        by = services.Staff(user=user, reason=form.cleaned_data["reason"], ip=client_ip(request))
        try:
            row = planning.spend_enter(
                month=form.cleaned_data["month"],
                channel=form.cleaned_data["channel"],
                nano=form.cleaned_data["amount"],
                by=by,
            )
        except ApiError as error:
            form.add_error(error.param if error.param in form.fields else None, error.message)
        else:
            facts = {"channel": row.channel, "amount": usd(row.amount_nano), "month": f"{row.month:%B %Y}"}
            messages.success(request, _("Entered: %(amount)s for %(channel)s in %(month)s.") % facts)
            return redirect(f"{reverse('admin:acquisition')}?month={row.month:%Y-%m}")
    return page(request, "acquisition", {"form": form}, status=422)


def download(request: HttpRequest, name: str) -> HttpResponseBase:
    """What a page shows, exact: dollars with all nine digits."""
    if name not in PAGES:
        raise Http404
    month = asked(request, months_known())
    if month is None:
        return page(request, name)
    head, rows = PAGES[name].rows(month, request.GET)
    return csv_response(f"{name}-{month:%Y-%m}.csv", head, rows)


def months_known() -> list[dt.date]:
    """The months there may be something to say of, from the current one back to the first that anybody signed up,
    subscribed or spent in."""
    last = month_of(now().astimezone(dt.UTC))
    signed_up = Tenant.ops.order_by("created_at").values_list("created_at", flat=True).first()
    begun = (first_month(), first_spend(), signed_up and month_of(signed_up.astimezone(dt.UTC)), last)
    month, found = min(one for one in begun if one), []
    while month <= last:
        found.append(month)
        month = next_month(month)
    return found[::-1]


def asked(request: HttpRequest, known: list[dt.date]) -> dt.date | None:
    """The month of the address (`2026-11`), the current one where it says none; None for one there is nothing of."""
    given = request.GET.get("month", "")
    return next((month for month in known if f"{month:%Y-%m}" == given), None) if given else known[0]


def _tabs(name: str, month: dt.date | None) -> list[dict[str, Any]]:
    query = f"?month={month:%Y-%m}" if month else ""
    tabs = [
        {"label": one.title, "href": f"{reverse(f'admin:{one.name}')}{query}", "current": one.name == name}
        for one in PAGES.values()
    ]
    return [*tabs, {"label": _("Planner"), "href": reverse("admin:planner"), "current": False}]


def _view(name: str) -> Callable[[HttpRequest], HttpResponseBase]:
    return lambda request: page(request, name)


OWN = {"acquisition": acquisition}
"""Pages that do more than show."""
ROUTES: list[tuple[str, Callable[..., HttpResponseBase], str]] = [
    *((f"economics/{'' if name == 'economics' else f'{name}/'}", OWN.get(name) or _view(name), name) for name in PAGES),
    ("economics/csv/<str:name>/", download, "economics_csv"),
]
"""Address, view and name of each, for the staff's site."""
