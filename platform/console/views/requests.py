"""The request log: what became of each call, one by one, in figures, and as a file."""

from decimal import Decimal
from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.selectors.usage import usage_of_request
from console import request_page
from console.request_page import FilterForm
from console.usage_page import Names
from console.views.base import ConsoleView, Download
from kit.clock import now
from kit.csvs import csv_response
from kit.errors import NotFound
from kit.money import NANO, in_name
from serving import requests_read
from serving.errors import SpanTooLarge
from serving.models import RequestRecord, TextKeeping
from serving.texts import keeping_of, text_of, texts_forget, texts_keep

SIZE = 50
MOST_LINES = 10_000
TABS = {"requests": gettext_lazy("Log"), "request_figures": gettext_lazy("Figures")}
HEAD = [
    "id", "at", "kind", "model", "key", "status", "code", "duration_ms", "first_token_ms", "queue_ms", "engine_ms",
    "inputs", "batch_rows", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "arm", "model_state",
    "trace_id", "retries",
]  # fmt: skip


class RequestsView(ConsoleView):
    """What the pages of the log share."""

    section = "requests"
    required_scopes = {"GET": "usage.read"}

    def asked(self, *, default: str = "24h") -> FilterForm:
        """The filter of the address."""
        self.names = Names.of_scope()
        return FilterForm(self.request.GET, keys=self.names.keys, default=default)

    def context(self, form: FilterForm, here: str) -> dict[str, Any]:
        """Filter, tabs, and the ways from one page of the log to the other with the same filter."""
        query = self.request.GET.copy()
        for name in ("after", "by"):
            query.pop(name, None)
        tail = f"?{query.urlencode()}" if query else ""
        return {
            "form": form,
            "filtered": any(form.data.get(name) for name in form.fields if name != "span"),
            "clear": f"{self.project_path(here)}?span={form.chosen_span}",
            "tabs": [
                {"label": label, "href": self.project_path(name) + tail, "current": name == here, "count": None}
                for name, label in TABS.items()
            ],
            "csv_url": self.project_path("requests_csv") + tail,
            "playground_url": self.project_path("playground"),
            "keeping": keeping_of(self.project.pk),
            "texts_url": self.project_path("request_texts"),
        }


class Requests(RequestsView):
    """The log, newest first."""

    template_name = "console/requests.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """One page of it, or the request whose id was asked for."""
        wanted = request.GET.get("request", "").strip()
        found = requests_read.request_of_scope(wanted) if wanted else None
        if found is not None and found.project_id == self.project.pk:
            return redirect(self.project_path("request", found.public_id))
        form = self.asked()
        asked_for = form.wanted(self.project.pk)
        try:
            shown, more = requests_read.requests_after(asked_for, request.GET.get("after", ""), limit=SIZE)
        except NotFound:
            shown, more = requests_read.requests_after(asked_for, "", limit=SIZE)
        return self.page(
            {
                **self.context(form, "requests"),
                "rows": [
                    request_page.Row(row, self.names.key(row.key_id, row.kind),
                                     self.project_path("request", row.public_id))
                    for row in shown
                ],
                "older": shown[-1].public_id if more else "",
                "later": bool(request.GET.get("after")),
                "unknown": wanted,
            }
        )  # fmt: skip


class RequestPage(RequestsView):
    """One request, with everything that is known of it."""

    template_name = "console/request.html"

    def get(self, request: HttpRequest, request_id: str) -> HttpResponseBase:
        """Show it."""
        found = requests_read.request_by_id(self.project.pk, request_id)
        version = request_page.version_of(found)
        return self.page(
            {
                "record": found,
                "key": Names.of_scope().key(found.key_id, found.kind),
                "version": version,
                "model_url": version and self.project_path("model", version.model.public_id),
                "texts": text_of(found) if self.can("datasets.read") else None,
                "event": usage_of_request(found.public_id),
                "refused_url": f"{self.org_path('refused')}?request={found.public_id}"
                if request_page.is_refused(found)
                else "",
                "elsewhere_ms": max(0, found.duration_ms - found.queue_ms - found.engine_ms),
                "crumbs": [{"label": _("Requests"), "href": self.project_path("requests")}],
            }
        )


class TextsForm(forms.Form):
    """For how long."""

    days = forms.IntegerField(
        label=gettext_lazy("Days to keep them"),
        min_value=1,
        max_value=TextKeeping.MOST_DAYS,
        initial=7,
        help_text=gettext_lazy("From 1 to 30. Each text is deleted when it is that old."),
    )


class RequestTexts(RequestsView):
    """Whether the texts of this project's requests are kept: for owners and admins."""

    required_scopes = {"GET": "usage.read", "POST": "tenant.write"}
    template_name = "console/request_texts.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """What holds, and the form to change it."""
        keeping = keeping_of(self.project.pk)
        return self._show(TextsForm(initial={"days": keeping.days if keeping is not None else 7}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Keep them from now on, or no longer."""
        if request.POST.get("action") == "stop":
            gone = texts_forget(project=self.project)
            words = _("No texts are kept. %(n)s were deleted.") % {"n": gone}
            return self.done(self.project_path("request_texts"), words)
        form = TextsForm(request.POST)
        if not form.is_valid():
            return self._show(form, status=422)
        days = form.cleaned_data["days"]
        texts_keep(project=self.project, days=days, by=self.auth.actor_label)
        return self.done(self.project_path("request_texts"), _("Texts of new requests are kept from now on."))

    def _show(self, form: TextsForm, *, status: int = 200) -> HttpResponseBase:
        return self.page(
            {
                "form": form,
                "keeping": keeping_of(self.project.pk),
                "may": self.can("tenant.write"),
                "crumbs": [{"label": _("Requests"), "href": self.project_path("requests")}],
            },
            status=status,
        )


class RequestFigures(RequestsView):
    """A span of the log in figures."""

    template_name = "console/request_figures.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it."""
        form = self.asked()
        by = request.GET.get("by", "")
        by = by if by in request_page.GROUPS else "model"
        context = {**self.context(form, "request_figures"), "by": by, "groups": request_page.GROUPS}
        try:
            context["picture"] = request_page.picture(form, form.wanted(self.project.pk), by, self.names)
        except SpanTooLarge as error:
            context["problem_words"] = error.message
        return self.page(context)


class RequestsCsv(RequestsView, Download):
    """The newest of the filtered requests as a file."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Send it."""
        form = self.asked()
        rows = requests_read.requests_newest(form.wanted(self.project.pk), limit=MOST_LINES)
        return csv_response(
            f"requests-{now():%Y-%m-%d}.csv", [in_name(name) for name in HEAD], [self._line(row) for row in rows]
        )

    def _line(self, row: RequestRecord) -> list[Any]:
        return [
            row.public_id, row.at.isoformat(), row.kind, row.model, self.names.key(row.key_id, row.kind), row.status,
            row.code, row.duration_ms, row.first_token_ms or "", row.queue_ms, row.engine_ms, row.items,
            row.batch_rows or "", row.input_tokens, row.output_tokens, row.cached_tokens,
            str(Decimal(row.cost_nano) / NANO), row.arm, row.model_state, row.trace_id, row.retries,
        ]  # fmt: skip
