"""The planner's pages: a plan lives in its address, so it can be sent, kept as a bookmark, and needs no script."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from billing.economics import EXAMPLE, FIELDS, Inputs, allowed, break_even, curve, outcome, sensitivity, text
from kit.csvs import csv_response
from kit.errors import ApiError
from kit.http import client_ip
from ops import planner_page, planning, services
from ops.live_figures import Live, live_figures
from ops.models import Scenario
from ops.planner_form import USUAL_SHARE, WORDS, PlanForm, SaveForm
from tenants.models import User
from tenants.scope import OPS

MOST_COMPARED = 5
HEAD = ("part", "name", "figure", "value")


def page(request: HttpRequest) -> HttpResponseBase:
    """The form and what follows from it; a POST keeps the plan under a name."""
    if request.method == "POST":
        return _save(request)
    kept = _kept(request.GET.get("scenario", ""))
    live = live_figures() if request.GET.get("live") else {}
    data = _data(request.GET, kept, live)
    return _answer(request, PlanForm(data), SaveForm(), kept=kept, live=live)


def _data(given: Mapping[str, str], kept: Scenario | None, live: Mapping[str, Live]) -> dict[str, str]:
    """The inputs of the address, of a kept plan, or of the example; what is measured stands in for them."""
    asked = {name: given[name] for name in (*WORDS, "share") if name in given}
    data = {**kept.inputs, **({"share": asked["share"]} if "share" in asked else {})} if kept else asked
    if not set(data) - {"share"}:
        data = {**EXAMPLE, **data}
    measured = {name: text(one.value) for name, one in live.items() if one.value is not None}
    return {"share": USUAL_SHARE, **data, **measured}


def _answer(
    request: HttpRequest,
    form: PlanForm,
    saving: SaveForm,
    *,
    kept: Scenario | None = None,
    live: Mapping[str, Live] | None = None,
    status: int = 200,
) -> HttpResponseBase:
    known = form.is_valid() and form.inputs is not None
    context: dict[str, Any] = {
        "form": form,
        "saving": saving,
        "more_forms": [saving],
        "kept": kept,
        "gone": bool(request.GET.get("scenario")) and kept is None,
        "live": live or {},
        "measured": [WORDS[name][0] for name, one in (live or {}).items() if one.value is not None],
        "example": known and not kept and not live and form.inputs == Inputs.of(EXAMPLE),
    }
    if known and form.inputs is not None:
        context |= planner_page.context(form.inputs, form.moved)
        context["address"] = _address({**form.inputs.texts(), "share": text(form.moved)})
    return TemplateResponse(
        request,
        "ops/planner.html",
        context,
        status=status if known else 422,
        headers={"Content-Security-Policy": settings.CONTENT_SECURITY_POLICY},
    )


def _address(values: Mapping[str, str]) -> str:
    """The plan as a query."""
    return "&".join(f"{name}={value}" for name, value in values.items())


def _save(request: HttpRequest) -> HttpResponseBase:
    form, saving = PlanForm({"share": USUAL_SHARE, **_data(request.POST, None, {})}), SaveForm(request.POST)
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the site's door
    if not form.is_valid() or form.inputs is None or not saving.is_valid():
        return _answer(request, form, saving, status=422)
    by = services.Staff(user=user, reason=saving.cleaned_data["reason"], ip=client_ip(request))
    try:
        row = planning.scenario_save(name=saving.cleaned_data["name"], inputs=form.inputs, by=by)
    except ApiError as error:
        saving.add_error(error.param if error.param in saving.fields else None, error.message)
        return _answer(request, form, saving, status=422)
    messages.success(request, _("Saved: %(name)s.") % {"name": row.name})
    return redirect(f"{reverse('admin:planner')}?scenario={row.pk}")


def download(request: HttpRequest) -> HttpResponseBase:
    """Every figure of a plan, exact, one to a line."""
    kept = _kept(request.GET.get("scenario", ""))
    form = PlanForm(_data(request.GET, kept, {}))
    if not form.is_valid() or form.inputs is None:
        return _answer(request, form, SaveForm())
    return csv_response("unit-economics.csv", HEAD, _figures(form.inputs, form.moved))


def _figures(inputs: Inputs, share: Fraction) -> Iterator[tuple[str, str, str, Any]]:
    for name, value in inputs.texts().items():
        yield "input", name, "value", Decimal(value)
    result = outcome(inputs)
    for line in result.lines:
        for figure in ("cost", "revenue", "profit"):
            yield "phase", line.phase, figure, _exact(getattr(line, figure))
    for figure in ("cost", "revenue", "profit", "margin", "returned"):
        yield "total", "", figure, _exact(getattr(result, figure))
    for name in FIELDS:
        point = break_even(inputs, name)
        yield "break_even", name, point.turn, _exact(point.value)
    for swing in sensitivity(inputs, share):
        for figure in ("low", "high", "low_profit", "high_profit"):
            yield "sensitivity", swing.name, figure, _exact(getattr(swing, figure))
    if (found := allowed(inputs)) is not None:
        yield "budget", "", "short", _exact(found.short)
        yield "budget", found.ends_in, "most_units", found.most_units
        for phase, paid in found.spent:
            yield "budget", phase, "spent", _exact(paid)
    for size, at in curve(inputs):
        for figure in ("cost", "revenue", "profit"):
            yield "curve", text(size), figure, _exact(getattr(at, figure))


def _exact(value: Fraction | None) -> Decimal | None:
    """A number to a spreadsheet, not a text; all digits of what has an end."""
    return None if value is None else Decimal(text(value))


def scenarios(request: HttpRequest) -> HttpResponseBase:
    """Kept plans, and those that were chosen side by side, the first chosen as what the others are held against."""
    rows = list(Scenario.objects.using(OPS).order_by("-created_at"))
    known = {str(row.pk): row for row in rows}
    asked = list(dict.fromkeys(request.GET.getlist("scenario")))
    chosen = [known[one] for one in asked if one in known][:MOST_COMPARED]
    context: dict[str, Any] = {
        "rows": [(row, planner_page.dollars(outcome(Inputs.of(row.inputs)).profit), row in chosen) for row in rows],
        "too_many": len(asked) > MOST_COMPARED,
        "gone": any(one not in known for one in asked),
        "most": MOST_COMPARED,
    }
    if chosen:
        context["table"] = planner_page.side_by_side([(row.name, Inputs.of(row.inputs)) for row in chosen])
    headers = {"Content-Security-Policy": settings.CONTENT_SECURITY_POLICY}
    return TemplateResponse(request, "ops/scenarios.html", context, headers=headers)


def _kept(scenario_id: str) -> Scenario | None:
    try:
        return Scenario.objects.using(OPS).filter(pk=UUID(scenario_id)).first() if scenario_id else None
    except ValueError:
        return None
