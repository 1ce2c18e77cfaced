"""The audit log: who changed what, when, from where. Filters stand in the URL; CSV gives the same rows."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import formats
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.selectors.features import AUDIT_EXPORT, feature_granted, feature_needed, feature_plan
from console import currencies
from console.paging import page_number, page_of
from console.views.base import ConsoleView, Download
from kit.money import written
from kit.spreadsheets import BOM, csv_line
from kit.streams import attachment
from tenants import audit, selectors
from tenants.models import AuditEvent
from tenants.scope import tenant_scope

PARCEL = 1_000
"""Rows of a CSV file that are read at a time."""
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

    def wanted(self) -> dict[str, Any]:
        """What to ask `audit_events` for; a filter that cannot be read filters nothing and is shown as wrong."""
        self.full_clean()
        values = self.cleaned_data
        return {
            "action": values.get("action") or "",
            "actor": values.get("actor") or "",
            "since": _midnight(values.get("since")),
            "until": _midnight(values.get("until"), days=1),
        }


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
        page = page_of(selectors.audit_events(**form.wanted()), page_number(request.GET.get("page")))
        context = {
            "form": form,
            "page": page,
            "events": [(event, changes(event)) for event in page.rows],
            "filtered": any(request.GET.get(name) for name in form.fields),
            "may_export": feature_granted(AUDIT_EXPORT),
            "export_plan": feature_plan(AUDIT_EXPORT),
        }
        return self.page(context)


class AuditCsv(Download):
    """The same rows as a file, all of them."""

    section = "audit"
    required_scopes = {"GET": "audit.read"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Note who takes it, then send it, newest first."""
        feature_needed(AUDIT_EXPORT)
        wanted = FilterForm(request.GET, actions=[]).wanted()
        audit.record(action="audit.exported", target=self.tenant, after=_named(wanted))
        response = attachment(
            request,
            _lines(self.tenant.pk, wanted),
            filename=f"audit-{self.tenant.slug}.csv",
            content_type="text/csv; charset=utf-8",
            from_database=True,
        )
        response.headers["Cache-Control"] = "no-store"
        return response


def _named(wanted: dict[str, Any]) -> dict[str, str]:
    """The filters that were set, for the log."""
    return {
        name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in wanted.items() if value
    }


def _lines(tenant_id: UUID, wanted: dict[str, Any]) -> Iterator[bytes]:
    """The file in parcels. Each is read in a transaction of its own: a slow client holds none open."""
    yield (BOM + csv_line(COLUMNS)).encode()
    last: AuditEvent | None = None
    while True:
        with tenant_scope(tenant_id):
            events = list(selectors.audit_events(**wanted, before=last)[:PARCEL])
        if not events:
            return
        yield "".join(csv_line(_cells(event)) for event in events).encode()
        last = events[-1]


def _cells(event: AuditEvent) -> tuple[str, ...]:
    return (
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


def changes(event: AuditEvent) -> list[tuple[str, str, str]]:
    """(field, before, after) of what an event changed, in words short enough for a cell."""
    before, after = event.before or {}, event.after or {}
    names = sorted({*before, *after})
    lines = [(_field(name), _short(before.get(name), name), _short(after.get(name), name)) for name in names]
    return [line for line in lines if line[1] != line[2]]


def _field(name: str) -> str:
    return name.removesuffix("_nano").replace("_", " ")


def _short(value: Any, name: str) -> str:
    """A field's value in words; amounts are kept in nano and said in the organisation's currency."""
    if value is None:
        return ""
    if name.endswith("_nano") and isinstance(value, int):
        return written(value)
    if name == "currency":
        return currencies.label(str(value))
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
