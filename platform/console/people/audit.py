"""The audit log: who changed what, when, from where. Filters stand in the URL; CSV gives the same rows."""

import csv
import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import formats
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from console.paging import page_number, page_of
from console.views.base import ConsoleView, Download
from kit.money import usd
from kit.spreadsheets import safe
from tenants import selectors
from tenants.models import AuditEvent

MOST = 50_000
"""Rows of one CSV file; a longer log is fetched by date range."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)$", re.ASCII)
"""A time as services record it."""
COLUMNS = ("time", "actor_kind", "actor", "action", "object", "object_id", "before", "after", "reason", "ip", "request")


class FilterForm(forms.Form):
    """What to show."""

    action = forms.CharField(label=_("Action"), required=False, max_length=64)
    actor = forms.CharField(label=_("Who"), required=False, max_length=254)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, actions: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        groups = sorted({action.split(".")[0] for action in actions})
        choices = [("", _("All")), *((f"{group}.", f"{group}: {_('all')}") for group in groups)]
        self.fields["action"].widget = forms.Select(choices=[*choices, *((name, name) for name in actions)])

    def rows(self) -> "QuerySet[AuditEvent]":
        """The events asked for; a filter that cannot be read filters nothing and is shown as wrong."""
        values = self.cleaned_data if self.is_valid() else {**self.cleaned_data}
        return selectors.audit_events(
            action=values.get("action") or "",
            actor=values.get("actor") or "",
            since=_midnight(values.get("since")),
            until=_midnight(values.get("until"), days=1),
        )


def _midnight(day: dt.date | None, *, days: int = 0) -> dt.datetime | None:
    """The start of a day in UTC, so many days later."""
    if day is None or day.year > 9000:
        return None
    return dt.datetime.combine(day, dt.time(), dt.UTC) + dt.timedelta(days=days)


class AuditPage(ConsoleView):
    """The log."""

    section = "audit"
    required_scopes = {"GET": "audit.read"}
    template_name = "console/people/audit.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """One page of it."""
        form = FilterForm(request.GET, actions=selectors.audit_actions())
        page = page_of(form.rows(), page_number(request.GET.get("page")))
        filtered = any(request.GET.get(name) for name in form.fields)
        events = [(event, changes(event)) for event in page.rows]
        return self.page({"form": form, "page": page, "events": events, "filtered": filtered})


class AuditCsv(Download):
    """The same rows as a file."""

    section = "audit"
    required_scopes = {"GET": "audit.read"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """At most 50,000 rows, newest first, made inside the scope."""
        form = FilterForm(request.GET, actions=[])
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="audit-{self.tenant.slug}.csv"'
        response["Cache-Control"] = "no-store"
        writer = csv.writer(response)
        writer.writerow(COLUMNS)
        writer.writerows(_lines(form.rows()[:MOST]))
        return response


def _lines(events: Any) -> Iterator[list[str]]:
    for event in events.iterator(chunk_size=2000):
        values = (
            event.at.astimezone(dt.UTC).isoformat(timespec="seconds"),
            event.actor_kind,
            event.actor_label,
            event.action,
            event.target_label,
            event.target_id,
            json.dumps(event.before, sort_keys=True, ensure_ascii=False) if event.before else "",
            json.dumps(event.after, sort_keys=True, ensure_ascii=False) if event.after else "",
            event.reason,
            event.ip or "",
            event.request_id,
        )
        yield [safe(value) for value in values]


def changes(event: AuditEvent) -> list[tuple[str, str, str]]:
    """(field, before, after) of what an event changed, in words short enough for a cell."""
    before, after = event.before or {}, event.after or {}
    names = sorted({*before, *after})
    lines = [(_field(name), _short(before.get(name), name), _short(after.get(name), name)) for name in names]
    return [line for line in lines if line[1] != line[2]]


def _field(name: str) -> str:
    return name.removesuffix("_nano").replace("_", " ")


def _short(value: Any, name: str) -> str:
    """A field's value in words; amounts are kept in nano-USD and said in dollars."""
    if value is None:
        return ""
    if name.endswith("_nano") and isinstance(value, int):
        return usd(value)
    if isinstance(value, list):
        return f"{', '.join(map(str, value[:3]))}{f' +{len(value) - 3}' if len(value) > 3 else ''}"
    if isinstance(value, dict):
        return ", ".join(f"{_field(key)} {_short(one, key)}" for key, one in value.items())[:200]
    if isinstance(value, bool):
        return _t("yes") if value else _t("no")
    if isinstance(value, str) and MOMENT.match(value):
        return _moment(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:120]


def _moment(text: str) -> str:
    """A recorded time for a reader; what only looks like one stays as it is."""
    try:
        at = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return text
    return formats.date_format(at, "j M Y H:i") + " UTC"
