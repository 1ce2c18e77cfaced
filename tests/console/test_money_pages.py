"""Usage to the single event, budgets of every scope, and the calculator, through the browser's door."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

from billing.models import UsageEvent
from billing.prices import Usage, month_cost, price_books, rate
from billing.services.alerts import budgets_alert
from billing.services.ledger import period_close
from billing.services.limits import key_limits_set
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.billing.test_month_prices import event, used
from tests.conftest import Cast, Person, make_person
from tests.console import billed, things


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())).replace("\u00a0", " ")


def events_of(person: Person, **query: str) -> list[dict[str, str]]:
    answer = person.browser.get(f"{person.home}/usage/events/csv", query)
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode().removeprefix("\ufeff"))))


def paged(person: Person, **query: str) -> list[str]:
    """Ids of all events by following the pages to the end."""
    found: list[str] = []
    after = ""
    while True:
        page = person.browser.get(f"{person.home}/usage/events/", {**query, "after": after}).content.decode()
        found += re.findall(r'href="[^"]*/usage/events/(uev_\w+)/"', page)
        older = re.search(r'rel="next" href="\?[^"]*after=(uev_\w+)', page)
        if older is None:
            return found
        after = older[1]


@pytest.fixture(scope="module")
def busy() -> Person:
    """400 calls over 40 hours and two days of silence between, some at the very same moment, and a rare model."""
    ada = make_person("ada")
    start = now().replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=6)
    made = []
    for number in range(400):
        hour = dt.timedelta(hours=number // 10 + (48 if number >= 200 else 0))
        at = start + hour + dt.timedelta(minutes=number % 3)
        rare = number % 97 == 0
        made.append(
            call(ada.tenant.id, number, cost=20 * (number + 1), at=at, model="rare" if rare else "usual",
                 kind="decisions" if number % 2 else "classify", project_id=ada.project.pk,
                 key_id=None if number % 5 == 0 else ada.key_row.id)
        )  # fmt: skip
    store_events(made)
    usage_rollup(tenant_id=ada.tenant.id)
    return ada


def test_pages_and_file_have_every_event_once_newest_first(busy: Person) -> None:
    rows = events_of(busy)
    assert len(rows) == 400 and len({row["event"] for row in rows}) == 400
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    assert paged(busy) == [row["event"] for row in rows]
    total = sum(int(Decimal(row["cost_usd"]) * NANO) for row in rows)
    assert total == sum(20 * (number + 1) for number in range(400))
    assert "400 events" in text_of(busy.browser.get(f"{busy.home}/usage/events/"))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"model": "rare"}, lambda n: n % 97 == 0),
        ({"kind": "decisions"}, lambda n: n % 2),
        ({"kind": "calls"}, lambda n: True),
        ({"kind": "batches"}, lambda n: False),
        ({"key": "none"}, lambda n: n % 5 == 0),
        ({"key": "none", "model": "rare", "kind": "classify"}, lambda n: n % 970 == 0),
        ({"book": "2026-11-01"}, lambda n: True),
        ({"book": "nobody's"}, lambda n: False),
    ],
)
def test_filters_find_what_they_say(busy: Person, query: dict[str, str], wanted: Any) -> None:
    rows = events_of(busy, **query)
    assert {row["request"] for row in rows} == {f"req_{n}" for n in range(400) if wanted(n)}
    assert sorted(paged(busy, **query)) == sorted(row["event"] for row in rows)


def test_a_key_a_project_and_a_day_are_filters(busy: Person) -> None:
    rows = events_of(busy)
    day = rows[0]["at"][:10]
    of_day = events_of(busy, since=day, until=day)
    assert of_day and {row["event"] for row in of_day} == {row["event"] for row in rows if row["at"].startswith(day)}
    assert len(events_of(busy, key=busy.key_row.public_id)) == 320
    assert len(events_of(busy, project=busy.project.public_id)) == 400


def test_an_event_that_is_not_summed_yet_is_there(cast: Cast) -> None:
    ada = cast.owner
    store_events([call(ada.tenant.id, 1, cost=40, at=now(), project_id=ada.project.pk)])
    assert [row["request"] for row in events_of(ada)] == ["req_1"]
    with tenant_scope(ada.tenant.id):
        event = UsageEvent.objects.get()
    assert "its hour is being summed" in text_of(ada.browser.get(f"{ada.home}/usage/events/{event.public_id}/"))


@pytest.mark.parametrize(
    "query",
    [
        {"since": "x", "until": "9999-99-99"}, {"since": "2026-13-40"}, {"since": "9998-01-01", "until": "0001-01-01"},
        {"since": "0001-01-01"}, {"key": "key_x"}, {"project": "proj_x"}, {"kind": "\x00"}, {"model": "a" * 999},
        {"model": "\x00"}, {"after": "uev_x"}, {"after": "\x00"}, {"book": "\x00"},
    ],
)  # fmt: skip
def test_nonsense_in_the_address_is_no_error_of_ours(busy: Person, query: dict[str, str]) -> None:
    assert busy.browser.get(f"{busy.home}/usage/events/", query).status_code == 200
    assert busy.browser.get(f"{busy.home}/usage/events/csv", query).status_code == 200


def test_somebody_elses_event_is_no_place_in_the_list(busy: Person, cast: Cast) -> None:
    mine = events_of(busy)[200]["event"]
    eve = cast.stranger
    store_events([call(eve.tenant.id, 1, cost=40, at=now(), project_id=eve.project.pk)])
    page = eve.browser.get(f"{eve.home}/usage/events/", {"after": mine}).content.decode()
    assert "/usage/events/uev_" in page and f"/usage/events/{mine}/" not in page


def test_an_events_page_shows_how_its_cost_comes_about_and_leads_to_its_request(cast: Cast) -> None:
    ada = cast.owner
    event = billed.made_usage(ada)
    page = ada.browser.get(f"{ada.home}/usage/events/{event.public_id}/").content.decode()
    assert f"{ada.workspace}/requests/{event.request_id}/" in page and "$0.00002408" in page
    back = ada.browser.get(f"{ada.workspace}/requests/{event.request_id}/").content.decode()
    assert f"{ada.home}/usage/events/{event.public_id}/" in back
    listed = ada.browser.get(f"{ada.home}/usage/events/").content.decode()
    assert f"{ada.workspace}/requests/{event.request_id}/" in listed and f"{ada.workspace}/jobs/ftjob-" in listed
    with tenant_scope(ada.tenant.id):
        every = list(UsageEvent.objects.all())
    for one in every:
        found = text_of(ada.browser.get(f"{ada.home}/usage/events/{one.public_id}/"))
        shown = re.search(r"How the cost comes about (.*?) What was used", found)
        assert shown is not None
        parts = [int(Decimal(part.replace(",", "")) * NANO) for part in re.findall(r"\$([\d.,]+)(?= |$)", shown[1])]
        assert one.cost_nano in parts, shown[1]


def test_the_usage_page_leads_to_events_that_add_up_to_its_rows(cast: Cast) -> None:
    ada = cast.owner
    billed.made_usage(ada)
    for by in ("model", "key", "kind"):
        page = ada.browser.get(f"{ada.home}/usage/", {"by": by}).content.decode()
        table = page[page.index("<tbody>", page.index('aria-label="Usage"')) :]
        links = re.findall(r'href="[^"]*/usage/events/\?([^"]+)"', table[: table.index("</tbody>")])
        assert links
        found = [events_of(ada, **dict(parse_qsl(link.replace("&amp;", "&")))) for link in links]
        ids = [row["event"] for rows in found for row in rows]
        assert len(ids) == len(set(ids)) == 14, f"by {by}: each event in one row"


def test_budgets_of_all_scopes_stand_on_one_page_with_who_set_them(cast: Cast) -> None:
    ada = cast.owner
    tenant = ada.tenant.id
    entitle(tenant, spend_nano=100 * NANO)
    things.limits_set(ada)
    project = f"{ada.home}/settings/projects/{ada.project.public_id}/limits"
    assert ada.browser.post(project, {"monthly_spend_nano": "10"}).status_code == 302
    assert ada.browser.post(f"{ada.home}/billing/limit", {"monthly_spend": "20"}).status_code == 302
    with tenant_scope(tenant):
        key_limits_set(key=ada.key_row, name="renamed", limits={"monthly_spend_nano": 5 * NANO})
    store_events([
        call(tenant, 1, cost=9 * NANO // 10, at=now(), model=things.LIMITED, project_id=ada.project.pk,
             key_id=ada.key_row.id)
    ])  # fmt: skip
    usage_rollup(tenant_id=tenant)
    budgets_alert(tenant_id=tenant)
    page = ada.browser.get(f"{ada.home}/usage/budgets/")
    words = text_of(page)
    scopes = ("Organisation, everything", "Project, all its keys", "Member, all keys", "API key, Default")
    for whose in (*scopes, "Model, Default"):
        assert whose in words, whose
    assert words.count(f"{ada.user.email} just now") == 2, "the project's and the organisation's were set by her"
    assert "90% $0.90 $1.00 $0.10" in words and "18% $0.90 $5.00 $4.10" in words and "4% $0.90 $20.00 $19.10" in words
    assert words.count("mail sent") == 4, "50 and 80 of the member's and of the model's"
    assert "2 limits are used to 80% or more." in words
    html = page.content.decode()
    for path in (f"{ada.home}/billing/", f"/settings/projects/{ada.project.public_id}/limits", "/limits\"",
                 f"/keys/{ada.key_row.public_id}", f"/limits/{things.LIMITED}"):  # fmt: skip
        assert path in html, path
    only = text_of(ada.browser.get(f"{ada.home}/usage/budgets/", {"scope": "key"}))
    assert "renamed" in only and "Organisation, everything" not in only
    assert cast.teammate.browser.get(f"{ada.home}/usage/budgets/").status_code == 200
    assert ada.browser.get(f"{ada.home}/usage/budgets/", {"scope": "x", "page": "-1"}).status_code == 200


def test_the_calculator_reckons_with_ones_own_traffic_exactly(cast: Cast) -> None:
    ada = cast.owner
    path = f"{ada.home}/billing/calculator"
    assert "figures of an example" in text_of(ada.browser.get(path))
    book = price_books().current(int(now().timestamp() * 1000), "usd")
    usage = Usage("classify", billed.TUNED, 12_000_000_000, requests=1)
    store_events([billed.event(ada, usage, "req_1", now() - dt.timedelta(days=2))])
    usage_rollup(tenant_id=ada.tenant.id)
    cost = month_cost(usage, book)
    assert (rate(usage, book), cost) == (240 * NANO, (20 + 9 * 16 + 2 * 12) * NANO)
    words = text_of(ada.browser.get(path))
    assert "$188.00 of usage a month" in words and "Developer costs least" in words.replace("  ", " ")
    assert "Tiers and packages −$52.00" in words.replace("-$", "−$")
    half = text_of(ada.browser.get(path, {"percent": "50", "engines": "2", "hours": "12"}))
    assert "$100.00 of usage a month" in half and "At $100.00 of usage Developer costs least." in half
    typed = text_of(ada.browser.get(path, {"traffic": "typed", "kind": "chat", "calls": "1000000", "read": "100",
                                           "written": "50"}))  # fmt: skip
    assert "$30.00 of usage a month" in typed  # 100 M read at $0.10 and 50 M written at $0.40 a million


@pytest.mark.parametrize(
    "query", [{"percent": "-1"}, {"percent": "x"}, {"engines": "33"}, {"hours": "25"}, {"percent": "1" * 40}]
)
def test_the_calculator_says_what_is_wrong(busy: Person, query: dict[str, str]) -> None:
    answer = busy.browser.get(f"{busy.home}/billing/calculator", query)
    assert answer.status_code == 422 and "There is a problem" in answer.content.decode()


def test_the_public_calculator_compares_plans(cast: Cast) -> None:
    page = text_of(cast.owner.browser.get("/pricing", {"calls": "1000000000", "tokens": "10"}))
    assert "These calls on each plan: $164.00 of usage a month" in page
    assert "From $190.00 of usage a month Team costs no more than Developer." in page


def test_what_a_months_quantity_changes_is_explained_down_to_its_events(cast: Cast) -> None:
    ada, at = cast.owner, dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)
    rows = [
        event(ada.tenant.id, 1, Usage("classify", billed.TUNED, 12 * 10**9), at),
        event(ada.tenant.id, 2, Usage("storage", "files", requests=0, byte_hours=800 * 10**9), at),
        event(ada.tenant.id, 3, Usage("embeddings", "all-MiniLM-L6-v2", 3 * 10**9), now()),
    ]
    entitle(ada.tenant.id, spend_nano=10**15)
    used(ada.tenant.id, *rows)
    period_close(tenant_id=ada.tenant.id, period=dt.date(2026, 10, 1))
    bill = text_of(ada.browser.get(f"{ada.home}/billing/months/2026-10/"))
    assert "Tier adjustment · Classification · all-MiniLM-L6-v2, 12,000,000,000 tokens" in bill
    assert "Packages begun · Storage · files, 800 GB-hours" in bill
    key = "classify:all-MiniLM-L6-v2:tiers:2026-11-30.5"
    answer = ada.browser.get(f"{ada.home}/billing/months/2026-10/line", {"key": key})
    line = text_of(answer)
    assert "1,000,000,001 – 10,000,000,000 9,000,000,000 $0.016 1 M tokens $144.00" in line
    assert "The month by its quantity $188.00" in line and "−$52.00" in line and "all projects" in line
    href = re.search(r'href="([^"]*/events/[^"]*book=2026-11-30.5[^"]*)"', answer.content.decode())
    assert href is not None
    events = text_of(ada.browser.get(href[1].replace("&amp;", "&")))
    assert "req_1" in events and "req_2" not in events and "req_3" not in events
    file = ada.browser.get(f"{ada.home}/billing/months/2026-10/line/csv", {"key": key})
    assert b",adjustment,-52" in file.content
    usage = text_of(ada.browser.get(f"{ada.home}/usage/"))
    assert "Embeddings · all-MiniLM-L6-v2 3,000,000,000 tokens read $0.008 / 1 M tokens" in usage
    assert "beyond 10,000,000,000: $0.006" in usage
