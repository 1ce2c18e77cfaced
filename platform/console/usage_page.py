"""Usage as its page shows it: a question from the address, bars per day, a table per model, key or kind."""

import datetime as dt
import uuid
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.prices import ENGINES, STORAGE, TRAINING, is_batch
from billing.selectors.usage import UsageFilter, UsageSum, usage_sums
from console.currencies import symbol, with_code
from kit import charts
from kit.ids import public_id
from kit.money import NANO, written
from tenants import selectors as tenants

SPANS = {7: gettext_lazy("7 days"), 30: gettext_lazy("30 days"), 90: gettext_lazy("90 days")}
GROUPS = {"model": gettext_lazy("model"), "key": gettext_lazy("key"), "kind": gettext_lazy("kind")}
FIELD = {"model": "model", "key": "key_id", "kind": "kind"}
WITHOUT_KEY = "none"
"""In place of a key in the address: what came without one."""
CALLS, BATCHES, JOBS = "calls", "batches", "jobs"
"""Kinds of usage taken together, as the events page asks for them."""
TONES = 5
"""Named parts of a bar; the rest are folded into one."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a reader asked for, both days included."""

    first: dt.date
    last: dt.date
    days: int
    by: str
    key: str

    @classmethod
    def read(cls, query: Any, *, today: dt.date) -> "Question":
        """From a query string; what makes no sense falls back."""
        text = query.get("days", "")
        days = int(text) if text in {str(span) for span in SPANS} else 30
        by = query.get("by", "model")
        return cls(
            first=today - dt.timedelta(days=days - 1),
            last=today,
            days=days,
            by=by if by in GROUPS else "model",
            key=query.get("key", "")[:40],
        )

    def query(self) -> str:
        """The address of this question."""
        return urlencode({"days": self.days, "by": self.by, "key": self.key})

    def filter(self) -> UsageFilter:
        """For the selectors; a key that makes no sense matches nothing."""
        keys: list[uuid.UUID] = []
        if self.key and self.key != WITHOUT_KEY:
            try:
                keys = [uuid.UUID(hex=self.key)]
            except ValueError:
                keys = [uuid.UUID(int=0)]
        return UsageFilter(
            since=dt.datetime.combine(self.first, dt.time(), dt.UTC),
            until=dt.datetime.combine(self.last + dt.timedelta(days=1), dt.time(), dt.UTC),
            key_ids=keys,
            without_key=self.key == WITHOUT_KEY,
        )


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called."""

    keys: list[tuple[str, str]]
    projects: dict[uuid.UUID, str]

    @classmethod
    def of_scope(cls) -> "Names":
        """Names of the scope's keys and projects, revoked and archived ones included."""
        return cls(
            keys=[(pk.hex, f"{name} (…{last})") for pk, name, last in tenants.key_names()],
            projects={p.pk: p.name for p in tenants.projects()},
        )

    def key(self, key_id: uuid.UUID | None, kind: str | None) -> str:
        """A key's name; what came without one is called by where it came from."""
        if key_id is None:
            if kind in TRAINING:
                return _("Jobs from the console")
            if is_batch(kind or ""):
                return _("Batches from the console")
            return {STORAGE: _("Storage"), ENGINES: _("Engines of deployments' own")}.get(kind or "", _("Playground"))
        return dict(self.keys).get(key_id.hex, _("deleted key"))


@dataclass(slots=True)
class Line:
    """One row of the table."""

    name: str
    calls: int = 0
    tokens: int = 0
    byte_hours: int = 0
    engine_seconds: int = 0
    cost: int = 0
    events: str = ""
    """The query that finds its events."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Bars, rows and totals."""

    bars: charts.Bars
    rows: list[Line]
    total: Line
    batched: Line
    """What of it came from batches."""


def group_name(row: UsageSum, by: str, names: Names) -> str:
    """What a sum is called in a grouping."""
    if by == "key":
        return names.key(row.key_id, row.kind)
    if row.kind == STORAGE:
        return _("Storage")
    return str((row.model if by == "model" else row.kind) or "–")


def events_query(wanted: Question, **more: str) -> str:
    """The query of the events of a question's days and key, and of what else is named."""
    key = wanted.key if wanted.key == WITHOUT_KEY else _key_id(wanted.key)
    asked = {"since": wanted.first.isoformat(), "until": wanted.last.isoformat(), "key": key, **more}
    return urlencode({name: value for name, value in asked.items() if value})


def _key_id(text: str) -> str:
    try:
        return public_id("key_", uuid.UUID(hex=text)) if text else ""
    except ValueError:
        return ""


def _events_of(one: UsageSum, wanted: Question) -> str:
    """The query of the events in one row of the table."""
    if wanted.by == "key" and one.key_id is not None:
        return events_query(wanted, key=public_id("key_", one.key_id))
    if wanted.by == "key":
        return events_query(wanted, key=WITHOUT_KEY, kind=_group_of(one.kind or ""))
    if wanted.by == "kind" or one.kind == STORAGE:
        return events_query(wanted, kind=one.kind or "")
    return events_query(wanted, model=one.model or "")


def _group_of(kind: str) -> str:
    """What the events page calls the kinds that stand in one row where there is no key."""
    if kind in TRAINING:
        return JOBS
    if kind in (STORAGE, ENGINES):
        return kind
    return BATCHES if is_batch(kind) else CALLS


def answer(wanted: Question, names: Names, events_url: str = "") -> Answer:
    """Sums for the page; days lead to their events under `events_url`."""
    sums = usage_sums(wanted=wanted.filter(), width="1d", by=list(dict.fromkeys((FIELD[wanted.by], "kind"))))
    rows: dict[str, Line] = {}
    cells: dict[tuple[dt.date, str], int] = defaultdict(int)
    total, batched = Line(_("Total"), events=events_query(wanted)), Line(_("In batches"))
    for one in sums:
        name = group_name(one, wanted.by, names)
        for line in (rows.setdefault(name, Line(name)), total, *([batched] if is_batch(one.kind or "") else [])):
            line.calls += one.requests
            line.tokens += one.input_tokens + one.output_tokens
            line.byte_hours += one.byte_hours
            line.engine_seconds += one.gpu_ms // 1000 if one.kind == ENGINES else 0
            line.cost += one.cost_nano
        rows[name].events = _events_of(one, wanted)
        cells[one.start.date(), name] += one.cost_nano
    ordered = sorted(rows.values(), key=lambda line: (-line.cost, -line.calls, line.name))
    bars = _bars(wanted, [line.name for line in ordered], cells, total.cost, events_url)
    return Answer(bars, ordered, total, batched)


def _bars(
    wanted: Question, names: list[str], cells: dict[tuple[dt.date, str], int], total: int, events_url: str
) -> charts.Bars:
    shown, rest = names[:TONES], names[TONES:]
    columns = []
    for offset in range(wanted.days):
        day = wanted.first + dt.timedelta(days=offset)
        parts = [cells.get((day, name), 0) / NANO for name in shown]
        if rest:
            parts.append(sum(cells.get((day, name), 0) for name in rest) / NANO)
        query = events_query(wanted, since=day.isoformat(), until=day.isoformat())
        columns.append(charts.Column(f"{day.day} {day:%b}", parts, f"{events_url}?{query}" if any(parts) else ""))
    finding = _("%(cost)s in %(days)s days.") % {"cost": written(total), "days": wanted.days}
    keys = [*shown, _("other")] if rest else shown or [_("cost")]
    return charts.bar_chart(
        id="usage", title=with_code(_("Cost per day")), finding=finding, keys=keys, columns=columns, unit=symbol()
    )


def lines(wanted: Question, names: Names) -> list[list[Any]]:
    """CSV lines: a day, a model, a kind, a key. Costs are exact decimals."""
    sums = usage_sums(wanted=wanted.filter(), width="1d", by=["model", "kind", "key_id"])
    return [
        [
            one.start.date().isoformat(),
            one.model,
            one.kind,
            names.key(one.key_id, one.kind),
            one.requests,
            one.input_tokens,
            one.output_tokens,
            one.byte_hours,
            one.gpu_ms // 1000 if one.kind == ENGINES else 0,
            str(Decimal(one.cost_nano) / NANO),
        ]
        for one in sums
    ]
