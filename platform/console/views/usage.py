"""Usage by day, model and key, with the same numbers as the bill."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from billing.selectors import bills
from billing.selectors.adjustments import month_by_quantity
from console import tiers, usage_page
from console.pricing import HOURS_OF_MONTH, current_book
from console.views.base import ConsoleView, Download
from data.limits import room_for
from kit.clock import now
from kit.csvs import csv_response
from kit.money import in_name


class Usage(ConsoleView):
    """A span of days, by one dimension."""

    section = "usage"
    required_scopes = {"GET": "usage.read"}
    template_name = "console/usage.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it."""
        wanted = usage_page.Question.read(request.GET, today=now().date())
        names = usage_page.Names.of_scope()
        events_url = self.org_path("usage_events")
        answer = usage_page.answer(wanted, names, events_url)
        return self.page(
            {
                "question": wanted,
                "room": room_for(self.tenant.pk),
                "storage_price": current_book().price("storage", "default").gigabyte_hour * HOURS_OF_MONTH,
                "by_quantity": tiers.so_far(month_by_quantity()),
                "allowance": bills.allowance_nano(),
                "without_key": usage_page.WITHOUT_KEY,
                "answer": answer,
                "keys": names.keys,
                "projects": names.projects,
                "spans": usage_page.SPANS,
                "groups": usage_page.GROUPS,
                "csv_url": f"{self.org_path('usage_csv')}?{wanted.query()}",
                "events_url": events_url,
                "keys_url": self.project_path("keys"),
                "playground_url": self.project_path("playground"),
            }
        )


class UsageCsv(Download):
    """The same sums as a file: one line a day and combination."""

    section = "usage"
    required_scopes = {"GET": "usage.read"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Send it."""
        wanted = usage_page.Question.read(request.GET, today=now().date())
        amounts = ["calls", "input_tokens", "output_tokens", "byte_hours", "engine_seconds", in_name("cost_usd")]
        head = ["day", "model", "kind", "key", *amounts]
        lines: list[list[Any]] = usage_page.lines(wanted, usage_page.Names.of_scope())
        return csv_response(f"usage-{wanted.first}-{wanted.last}.csv", head, lines)
