"""Usage down to the single event: the list, one event, and the file."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _

from billing.models import UsageEvent
from billing.selectors.bill_parts import bill_key as key_of_line
from billing.selectors.bill_parts import lines_of
from billing.selectors.events import bills_of, event_by_id, events_after, events_sum, rated_line_of
from console import events_page
from console.usage_page import Names
from console.views.base import ConsoleView, Download
from kit.clock import now
from kit.errors import NotFound
from kit.ids import public_id
from kit.streams import attachment
from serving.requests_read import requests_logged
from tenants.selectors import projects
from training.models import Job

SIZE = 50


class EventsView(ConsoleView):
    """What the pages of events share."""

    section = "usage"
    required_scopes = {"GET": "usage.read"}

    def row(self, event: UsageEvent, names: Names, logged: set[str], bill: Any) -> events_page.Row:
        """One event with everything its table says."""
        request, href = self._request(event, logged)
        return events_page.Row(
            event=event,
            kind=events_page.kind_word(event.kind),
            key=names.key(event.key_id, event.kind),
            project=events_page.project_names(names, event),
            model=events_page.narrow(event.model),
            units=events_page.units(event),
            price=events_page.price_words(event),
            href=self.org_path("usage_event", event.public_id),
            request=request,
            request_href=href,
            bill=bill,
        )

    def _request(self, event: UsageEvent, logged: set[str]) -> tuple[str, str]:
        """The id of what was metered, and its page where there is one."""
        slug = self.slugs.get(event.project_id)
        if event.request_id.startswith("job:"):
            try:
                job = public_id(Job.prefix, UUID(event.request_id.removeprefix("job:")))
            except ValueError:
                return event.request_id, ""
            return job, self._in_project("job", slug, job)
        known = event.request_id in logged
        return event.request_id, self._in_project("request", slug, event.request_id) if known else ""

    def _in_project(self, name: str, slug: str | None, *args: str) -> str:
        return reverse(f"console:{name}", args=[self.tenant.slug, slug, *args]) if slug else ""

    @property
    def slugs(self) -> dict[UUID, str]:
        """Addresses of the projects by id."""
        if not hasattr(self, "_slugs"):
            self._slugs = {project.pk: project.slug for project in projects()}
        return self._slugs


class Events(EventsView):
    """`/usage/events/`: the events of some days, newest first."""

    template_name = "console/events.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """One page of them."""
        names = Names.of_scope()
        form = events_page.FilterForm(request.GET, names=names, today=now().date())
        wanted = form.wanted()
        cursor = request.GET.get("after", "")
        try:
            shown, more = events_after(wanted, cursor, limit=SIZE)
        except NotFound:
            cursor = ""
            shown, more = events_after(wanted, cursor, limit=SIZE)
        logged, bills = requests_logged(events_page.requests_in(shown)), bills_of(shown)
        number, cost = events_sum(wanted)
        return self.page(
            {
                "form": form,
                "rows": [self.row(event, names, logged, bills.get(event.pk)) for event in shown],
                "older": shown[-1].public_id if more else "",
                "later": bool(cursor),
                "number": number,
                "cost": cost,
                "filtered": form.filtered,
                "clear": self.org_path("usage_events"),
                "csv_url": f"{self.org_path('usage_events_csv')}?{form.query()}",
                "may_bill": self.can("billing.read"),
                "several": len(names.projects) > 1,
                "playground_url": self.project_path("playground"),
                "crumbs": [{"label": _("Usage"), "href": self.org_path("usage")}],
            }
        )


class EventPage(EventsView):
    """`/usage/events/<id>/`: how one event's cost comes about, and where it went."""

    template_name = "console/event.html"

    def get(self, request: HttpRequest, event: str) -> HttpResponseBase:
        """Show it."""
        found = event_by_id(event)
        bill = bills_of([found]).get(found.pk)
        names = Names.of_scope()
        line = rated_line_of(found)
        bill_line = None
        if bill is not None and line is not None:
            key = key_of_line(line, bill.period)
            bill_line = next((one for one in lines_of(bill) if one.key == key), None)
        return self.page(
            {
                "row": self.row(found, names, requests_logged(events_page.requests_in([found])), bill),
                "pieces": events_page.pieces(found),
                "line": line,
                "bill_line": bill_line,
                "may_bill": self.can("billing.read"),
                "crumbs": [
                    {"label": _("Usage"), "href": self.org_path("usage")},
                    {"label": _("Events"), "href": self.org_path("usage_events")},
                ],
            }
        )


class EventsCsv(EventsView, Download):
    """The same events as a file, all of them."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Send it."""
        names = Names.of_scope()
        wanted = events_page.FilterForm(request.GET, names=names, today=now().date()).wanted()
        last = f"{wanted.until:%Y-%m-%d}"
        response = attachment(
            request,
            events_page.csv_rows(self.tenant.pk, wanted, names),
            filename=f"usage-events-{wanted.since:%Y-%m-%d}-before-{last}.csv",
            content_type="text/csv; charset=utf-8",
            from_database=True,
        )
        response.headers["Cache-Control"] = "no-store"
        return response
