"""The request log as its pages show it: what a reader asked for, the drawings of a span, the rows of a table."""

import dataclasses
import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from billing.selectors.decisions import DecisionFilter, decisions
from console.states import call_word
from console.templatetags.look import model_short
from console.usage_page import Names
from kit import charts
from kit.clock import now
from kit.ids import parse_id, public_id
from registry.models import Model, ModelVersion
from serving.figures import Figures, figures
from serving.models import RequestRecord
from serving.requests_read import ARMS, CLASSES, KINDS, RequestFilter

SPANS = {
    "1h": (_("last hour"), dt.timedelta(hours=1), "minute"),
    "24h": (_("last 24 hours"), dt.timedelta(days=1), "hour"),
    "7d": (_("last 7 days"), dt.timedelta(days=7), "day"),
    "30d": (_("last 30 days"), dt.timedelta(days=30), "day"),
}
STEPS = {"minute": dt.timedelta(minutes=1), "hour": dt.timedelta(hours=1), "day": dt.timedelta(days=1)}
GROUPS = {"model": _("model"), "api_key": _("key"), "kind": _("kind"), "day": _("day"), "arm": _("side of a rollout")}
WITHOUT_KEY = "none"
ALL = ("", _("all"))


class FilterForm(forms.Form):
    """Which requests to show. What cannot be read filters nothing, and is shown as wrong."""

    span = forms.ChoiceField(label=_("Time"), required=False, choices=[(k, v[0]) for k, v in SPANS.items()])
    model = forms.CharField(label=_("Model"), required=False, max_length=200)
    key = forms.ChoiceField(label=_("Key"), required=False)
    kind = forms.ChoiceField(label=_("Kind"), required=False)
    status = forms.ChoiceField(label=_("Status"), required=False, choices=[ALL, *((one, one) for one in CLASSES)])
    code = forms.CharField(label=_("Error code"), required=False, max_length=64)
    slower = forms.IntegerField(
        label=_("Slower than, ms"), required=False, min_value=0, max_value=10**9,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )  # fmt: skip
    arm = forms.ChoiceField(label=_("Rollout"), required=False, choices=[ALL, *((one, one) for one in ARMS)])

    def __init__(self, query: Any, *, keys: list[tuple[str, str]], default: str = "24h") -> None:
        if query.get("span") not in SPANS:
            query = query.copy()
            query["span"] = default  # a union would make lists of the other values
        super().__init__(query)
        field: Any = self.fields["key"]
        field.choices = [ALL, *((public_id("key_", UUID(hex=one)), name) for one, name in keys),
                         (WITHOUT_KEY, _("without a key"))]  # fmt: skip
        field = self.fields["kind"]
        field.choices = [ALL, *((one, call_word(one)) for one in KINDS)]

    def wanted(self, project_id: UUID) -> RequestFilter:
        """For the selectors."""
        self.full_clean()
        values = self.cleaned_data
        key = values.get("key", "")
        return RequestFilter(
            project_id=project_id,
            since=now() - SPANS[self.chosen_span][1],
            model=_whole_name(project_id, values.get("model", "")),
            key_id=parse_id("key_", key) if key and key != WITHOUT_KEY else None,
            without_key=key == WITHOUT_KEY,
            kind=values.get("kind", ""),
            status=values.get("status", ""),
            code=values.get("code", ""),
            min_ms=values.get("slower") or 0,
            arm=values.get("arm", ""),
        )

    @property
    def chosen_span(self) -> str:
        """The span's name."""
        return str(self.data["span"])


def _whole_name(project_id: UUID, typed: str) -> str:
    """The name of the model that a table shows so; what is no short name of one stays as it is."""
    if typed.count(":") != 1:
        return typed
    models = Model.objects.filter(project_id=project_id, name__endswith=f":{typed.split(':')[1]}")
    return next((name for name in models.values_list("name", flat=True) if model_short(name) == typed), typed)


@dataclass(frozen=True, slots=True)
class Row:
    """One request in the table."""

    record: RequestRecord
    key: str
    href: str


def is_refused(record: RequestRecord) -> bool:
    """Whether a limit stood in its way, and the reason is kept."""
    if record.status not in (402, 429):
        return False
    return bool(decisions(DecisionFilter(request_id=record.public_id)).exists())


def version_of(record: RequestRecord) -> Any:
    """The version that answered; None for a base, and for one that is gone."""
    if record.version_id is None:
        return None
    versions = ModelVersion.objects.select_related("model").filter(model__deleted_at=None)
    return versions.filter(pk=record.version_id, model__project_id=record.project_id).first()


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the figures' table."""

    name: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Picture:
    """A span in figures, drawings and lines."""

    total: Figures
    lines: list[Line]
    calls: charts.Bars
    times: Any


def picture(form: FilterForm, wanted: RequestFilter, by: str, names: Names) -> Picture:
    """Everything the page of figures shows. SpanTooLarge where it cannot be added up in time."""
    step = SPANS[form.chosen_span][2]
    end = now()
    total, parts = figures(dataclasses.replace(wanted, until=end), by=by)
    steps = figures(dataclasses.replace(wanted, until=end), by=step)[1]
    found = {one.part.replace(tzinfo=dt.UTC): one for one in steps}
    moments = _moments(wanted.since, end, STEPS[step])
    lines = [Line(_name(one.part, by, names), one) for one in parts]
    if by == "day":
        lines.sort(key=lambda line: line.name, reverse=True)
    return Picture(total, lines, _calls(moments, found, step, total), _times(moments, found, step, total))


def _moments(since: dt.datetime, end: dt.datetime, step: dt.timedelta) -> list[dt.datetime]:
    seconds = int(step.total_seconds())
    first = dt.datetime.fromtimestamp(int(since.timestamp()) // seconds * seconds, dt.UTC)
    return [first + step * n for n in range(int((end - first) / step) + 1)]


def _name(part: Any, by: str, names: Names) -> str:
    if by == "api_key":
        return names.key(part, None) if part is not None else _t("without a key")
    if isinstance(part, dt.datetime):
        return f"{part:%Y-%m-%d}"
    if by == "kind":
        return call_word(str(part))
    if by == "arm":
        return str(part or _t("no rollout"))
    return str(part or "–")


def _calls(moments: list[dt.datetime], found: dict[dt.datetime, Figures], step: str, total: Figures) -> charts.Bars:
    columns = []
    for moment in moments:
        one = found.get(moment)
        parts = [one.errors, one.requests - one.errors] if one is not None else [0, 0]
        columns.append(charts.Column(_moment(moment, step), parts))
    finding = ngettext("%(n)s request", "%(n)s requests", total.requests) % {"n": total.requests}
    return charts.bar_chart(
        id="calls", title=_STEP_TITLES[step], finding=finding, keys=[_t("errors"), _t("answered")], columns=columns,
        xlabel=_t("From (UTC)"),
    )  # fmt: skip


def _moment(moment: dt.datetime, step: str) -> str:
    return moment.strftime("%-d %b" if step == "day" else "%H:%M")


_STEP_TITLES: dict[str, Any] = {
    "minute": _("Requests per minute"),
    "hour": _("Requests per hour"),
    "day": _("Requests per day"),
}


def _times(moments: list[dt.datetime], found: dict[dt.datetime, Figures], step: str, total: Figures) -> Any:
    def line(key: str, name: str, tone: int) -> charts.Series:
        points = [
            (float(place), getattr(found[moment], key) if moment in found else None)
            for place, moment in enumerate(moments)
        ]
        return charts.Series(key, name, points, tone)

    finding = (
        _t("Half the answers took %(ms)s ms or less.") % {"ms": round(total.p50)} if total.p50 else _t("No answer.")
    )
    return charts.line_chart(
        id="times", title=_t("Time to answer, ms"), finding=finding, xlabel=_t("From (UTC)"), zero=True,
        names=[_moment(moment, step) for moment in moments],
        series=[line("p50", "p50", 2), line("p95", "p95", 1), line("p99", "p99", 4)],
    )  # fmt: skip
