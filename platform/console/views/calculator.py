"""The calculator for one organisation: its own traffic of the last 30 days, or what is typed in, on every plan."""

import datetime as dt
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from billing.periods import start_of
from billing.selectors.subscriptions import entitlement_for
from console import calculator
from console.events_page import kind_word
from console.pricing import current_book
from console.views.base import ConsoleView
from kit.clock import now

SHOWN = 20
"""Rows of own traffic; the rest is one."""


class CalculatorPage(ConsoleView):
    """`/billing/calculator`."""

    section = "billing"
    required_scopes = {"GET": "billing.read"}
    template_name = "console/calculator.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it. Without traffic of its own an organisation begins with an example."""
        book, today = current_book(), start_of(now().date())
        used = calculator.own_traffic(book, today)
        typed = request.GET.get("traffic") == "typed" or not used
        start = {"engines": 1, "hours": 24}
        form: Any
        if typed:
            form = calculator.Typed(_filled(request, {**calculator.TYPED, **start}))
        else:
            form = calculator.Share(_filled(request, {"percent": 100, **start}))
        found = None
        if form.is_valid():
            values = form.cleaned_data
            if typed:
                usage, calls = calculator.typed_usage(book, values), values["calls"]
            else:
                percent = values["percent"]
                usage = calculator.traffic_cost(used, book, percent)
                calls = sum(one.usage.requests for one in used if calculator.is_call(one)) * percent // 100
            engine_nano = calculator.engine_usage(book, values)
            found = calculator.costs(usage, calls=calls, engines=values["engines"], engine_nano=engine_nano)
        here = self.org_path("calculator")
        return self.page(
            {
                "form": form,
                "typed": typed,
                "costs": found,
                "used": [(kind_word(one.kind), one) for one in used[:SHOWN]],
                "rest": sum(one.cost for one in used[SHOWN:]),
                "more": max(0, len(used) - SHOWN),
                "by_quantity": calculator.by_quantity(used, book),
                "total": calculator.traffic_cost(used, book),
                "has_traffic": bool(used),
                "days": calculator.DAYS,
                "first": today - dt.timedelta(days=calculator.DAYS),
                "last": today - dt.timedelta(days=1),
                "plan": entitlement_for(self.tenant.pk).plan,
                "book_version": book.version,
                "tabs": [
                    {"label": _("Your traffic"), "href": here, "current": not typed, "count": None},
                    {"label": _("Typed in"), "href": f"{here}?traffic=typed", "current": typed, "count": None},
                ],
                "crumbs": [{"label": _("Billing"), "href": self.org_path("billing")}],
            },
            status=200 if found is not None else 422,
        )


def _filled(request: HttpRequest, start: dict[str, Any]) -> dict[str, Any]:
    """What the address says, and what is usual for the rest."""
    return {name: request.GET.get(name) or value for name, value in start.items()}
