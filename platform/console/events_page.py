"""Single usage events as their pages show them: a filter from the address, units, prices, and the bill of each."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.models import PeriodClose, UsageEvent
from billing.periods import start_of
from billing.prices import ENGINES, NOT_CALLS, STORAGE, TRAINING, Usage, is_batch, price_books, rate
from billing.selectors.events import bills_of, events_after
from billing.selectors.usage import UsageFilter
from console.pricing import HOURS_OF_MONTH
from console.states import call_word
from console.templatetags.look import count, engine_time, gb_months
from console.usage_page import BATCHES, CALLS, JOBS, WITHOUT_KEY, Names
from kit.ids import parse_id, public_id
from kit.money import exact_amount, in_name, written_exact
from kit.spreadsheets import BOM, csv_line
from serving.requests_read import KINDS
from tenants.scope import tenant_scope

MILLION = 10**6
GIGABYTE_MONTH = 10**9 * HOURS_OF_MONTH
DAYS = 30
"""Shown where nobody says since when."""
MOST_DAYS = 400
EARLIEST = dt.date(2020, 1, 1)
"""Nothing was used before."""
PARCEL = 2_000
"""Events read at once for a file."""
ALL = ("", _("all"))
OTHER_KINDS: dict[str, Any] = {
    "training": _("Training"),
    "training_preemptible": _("Training, preemptible"),
    "training_priority": _("Training, priority"),
    STORAGE: _("Storage"),
    ENGINES: _("Engines of its own"),
}
LIVE = tuple(kind for kind in KINDS if not is_batch(kind))
TOGETHER: dict[str, tuple[Any, tuple[str, ...]]] = {
    CALLS: (_("Calls"), LIVE),
    BATCHES: (_("Lines of batches"), tuple(kind for kind in KINDS if is_batch(kind))),
    JOBS: (_("Training, every lane"), TRAINING),
}
"""Kinds that can be asked for together."""
COLUMNS = (
    "event", "at", "project", "key", "kind", "model", "input_tokens", "output_tokens", "cached_tokens", "requests",
    "engine_ms", "byte_hours", "price_book", "cost_usd", "request", "bill",
)  # fmt: skip


def kind_word(kind: str) -> str:
    """What was metered, in words."""
    return str(OTHER_KINDS[kind]) if kind in OTHER_KINDS else call_word(kind)


def _date(label: Any) -> forms.DateField:
    return forms.DateField(label=label, required=False, widget=forms.DateInput(attrs={"type": "date"}))


class FilterForm(forms.Form):
    """Which events to show. What cannot be read filters nothing, and is shown as wrong."""

    since = _date(_("From"))
    until = _date(_("To"))
    project = forms.ChoiceField(label=_("Project"), required=False)
    key = forms.ChoiceField(label=_("Key"), required=False)
    kind = forms.ChoiceField(label=_("Kind"), required=False)
    model = forms.CharField(label=_("Model"), required=False, max_length=200)
    book = forms.CharField(label=_("Price book"), required=False, max_length=40)

    def __init__(self, query: Any, *, names: Names, today: dt.date) -> None:
        asked = {name: query.get(name, "") for name in self.base_fields}
        # Both ends are always filled in: the page says which days it shows.
        asked["until"] = asked["until"] or today.isoformat()
        asked["since"] = asked["since"] or (today - dt.timedelta(days=DAYS - 1)).isoformat()
        super().__init__(asked)
        self.today = today
        choices: dict[str, list[tuple[str, Any]]] = {
            "project": [ALL, *((public_id("proj_", pk), name) for pk, name in names.projects.items())],
            "key": [ALL, *((public_id("key_", UUID(hex=one)), name) for one, name in names.keys),
                    (WITHOUT_KEY, _("without a key"))],
            "kind": [ALL, *((code, words) for code, (words, _kinds) in TOGETHER.items()),
                     *((kind, kind_word(kind)) for kind in (*KINDS, *NOT_CALLS))],
        }  # fmt: skip
        for name, one in choices.items():
            field: Any = self.fields[name]
            field.choices = one

    def wanted(self) -> UsageFilter:
        """For the selectors. Days are UTC, both included; at most `MOST_DAYS`."""
        self.full_clean()
        values = self.cleaned_data
        last = max(min(values.get("until") or self.today, self.today), EARLIEST)
        first = values.get("since") or last - dt.timedelta(days=DAYS - 1)
        first = min(max(first, last - dt.timedelta(days=MOST_DAYS)), last)
        key, project, kind = (values.get(name, "") for name in ("key", "project", "kind"))
        return UsageFilter(
            since=start_of(first),
            until=start_of(last) + dt.timedelta(days=1),
            kinds=TOGETHER[kind][1] if kind in TOGETHER else _some(kind),
            project_ids=[parse_id("proj_", project)] if project else (),
            key_ids=[parse_id("key_", key)] if key and key != WITHOUT_KEY else (),
            models=_some(values.get("model")),
            price_versions=_some(values.get("book")),
            without_key=key == WITHOUT_KEY,
        )

    @property
    def filtered(self) -> bool:
        """Whether anything but the time is asked for."""
        return any(self.data.get(name) for name in self.fields if name not in ("since", "until"))

    def query(self) -> str:
        """The address of what is asked."""
        return urlencode({name: value for name, value in self.data.items() if value})


def _some(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


def address(**wanted: Any) -> str:
    """A query string of the events page; nothing for what is not asked."""
    return urlencode({name: value for name, value in wanted.items() if value})


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an event's cost: so much of something, at a price."""

    name: str
    quantity: str
    price: str
    nano: int


@dataclass(frozen=True, slots=True)
class Row:
    """One event in the table."""

    event: UsageEvent
    kind: str
    key: str
    project: str
    model: str
    """Its name in a narrow cell: both ends, because what tells models apart stands at the end."""
    units: str
    price: str
    href: str
    request: str
    """What to show of the request's or job's id."""
    request_href: str
    """Its page; empty where none is kept."""
    bill: PeriodClose | None


def units(event: UsageEvent) -> str:
    """What an event counted, in a few words."""
    if event.kind == STORAGE:
        return gb_months(event.byte_hours)
    if event.kind == ENGINES:
        return engine_time(event.gpu_ms // 1000)
    if event.kind in TRAINING:
        return _t("%(n)s trained") % {"n": count(event.input_tokens)}
    if event.output_tokens:
        return _t("%(a)s in, %(b)s out") % {"a": count(event.input_tokens), "b": count(event.output_tokens)}
    return _t("%(n)s in") % {"n": count(event.input_tokens)}


def pieces(event: UsageEvent) -> list[Piece]:
    """How an event's cost comes about, from its price book. They sum to the cost: what the book alone does not say (a
    job's ceiling, a cached prompt) stands in a piece of its own."""

    def cost(**amount: Any) -> int:
        return rate(replace(Usage(event.kind, event.model, requests=0), **amount), book)

    try:
        book = price_books().get(event.price_version)
        cost()
    except KeyError:
        return [Piece(_t("Cost"), units(event), event.price_version, event.cost_nano)]
    tokens = _t("Tokens trained on") if event.kind in TRAINING else _t("Tokens read")
    million = _t("%(price)s / 1 M")
    parts = [
        (tokens, count(event.input_tokens), million, cost(input_tokens=MILLION), cost(input_tokens=event.input_tokens)),
        (_t("Tokens written"), count(event.output_tokens), million, cost(output_tokens=MILLION),
         cost(output_tokens=event.output_tokens)),
        (_t("Requests"), count(event.requests), _t("%(price)s each"), cost(requests=1), cost(requests=event.requests)),
        (_t("Engine time"), engine_time(event.gpu_ms // 1000), _t("%(price)s an hour"), cost(machine_ms=3_600_000),
         cost(machine_ms=event.gpu_ms)),
        (_t("Storage"), gb_months(event.byte_hours), _t("%(price)s a GB and month"), cost(byte_hours=GIGABYTE_MONTH),
         cost(byte_hours=event.byte_hours)),
    ]  # fmt: skip
    found = [
        Piece(name, quantity, words % {"price": written_exact(unit)}, nano)
        for name, quantity, words, unit, nano in parts
        if unit and (nano or name == tokens)
    ]
    rest = event.cost_nano - sum(piece.nano for piece in found)
    if rest:
        found.append(Piece(_t("Taken off") if rest < 0 else _t("Added"), "", "", rest))
    return found


def narrow(model: str, width: int = 28) -> str:
    """A model's name with its middle left out where it is long."""
    parts = model.split(":")
    short = f"{parts[3] or parts[1]}:{parts[4]}" if len(parts) == 5 and parts[0] == "ft" else model
    return short if len(short) <= width else f"{short[: width - 13]}…{short[-12:]}"


def price_words(event: UsageEvent) -> str:
    """The prices of an event in one cell."""
    return ", ".join(dict.fromkeys(piece.price for piece in pieces(event) if piece.price and piece.nano))


def project_names(names: Names, event: UsageEvent) -> str:
    """The project's name."""
    return names.projects.get(event.project_id) or _t("archived project")


def csv_rows(tenant_id: UUID, wanted: UsageFilter, names: Names) -> Iterator[bytes]:
    """The file in parcels, newest first. Each is read in a transaction of its own: a slow client holds none open."""
    with tenant_scope(tenant_id):
        yield (BOM + csv_line([in_name(name) for name in COLUMNS])).encode()
    cursor, more = "", True
    while more:
        with tenant_scope(tenant_id):
            events, more = events_after(wanted, cursor, limit=PARCEL)
            bills = bills_of(events)
        if events:
            yield "".join(csv_line(cells(event, names, bills.get(event.pk))) for event in events).encode()
            cursor = events[-1].public_id


def cells(event: UsageEvent, names: Names, bill: PeriodClose | None) -> Sequence[Any]:
    """One line of the file. Costs are exact decimals."""
    return (
        event.public_id, event.occurred_at.astimezone(dt.UTC).isoformat(), project_names(names, event),
        names.key(event.key_id, event.kind), event.kind, event.model, event.input_tokens, event.output_tokens,
        event.cached_tokens, event.requests, event.gpu_ms, event.byte_hours, event.price_version,
        exact_amount(event.cost_nano), event.request_id, f"{bill.period:%Y-%m}" if bill is not None else "",
    )  # fmt: skip


def requests_in(events: Iterable[UsageEvent]) -> list[str]:
    """Ids of the events that may be requests of the log."""
    return [event.request_id for event in events if event.request_id.startswith("req_")]
