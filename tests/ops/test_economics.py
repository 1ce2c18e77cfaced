"""The economics pages as staff use them. The books are of all tenants and stay: each test has years of its own."""

import csv
import datetime as dt
import io
import itertools
from decimal import Decimal
from typing import Any

import pytest

from billing.models import AcquisitionSpend
from billing.periods import start_of
from data.models import File
from ops.models import StaffAction
from registry.models import Model
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.billing.subscribed import YEARS, changed
from tests.conftest import Cast, Person, make_person
from tests.console.things import made_file, made_model
from tests.ops.test_planner import words

HOME = "/staff/economics/"
NAMES = ("economics", "retention", "funnel", "acquisition", "margin")
PATHS = (HOME, *(f"{HOME}{name}/" for name in NAMES[1:]))
WHY = "the bill of the agency"


def table(answer: Any) -> list[dict[str, str]]:
    """The lines of a CSV."""
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def a_year(year: int) -> list[Person]:
    """One comes and grows, one comes and goes and comes back, one only stays."""
    people = [make_person(f"econ{number}") for number in range(3)]
    changed(people[0], start_of(dt.date(year, 1, 5)))
    changed(people[0], start_of(dt.date(year, 3, 5)), plan="team")
    changed(people[1], start_of(dt.date(year, 1, 6)))
    changed(people[1], start_of(dt.date(year, 2, 6)), status="canceled")
    changed(people[1], start_of(dt.date(year, 4, 6)))
    changed(people[2], start_of(dt.date(year, 2, 6)), plan="team")
    return people


def test_only_staff_open_them(cast: Cast) -> None:
    for path in (*PATHS, f"{HOME}csv/economics/"):
        assert cast.owner.browser.get(path).status_code in (302, 404)
        assert b"MRR" not in cast.owner.browser.get(path, follow=True).content


def test_the_overview_tells_mrr_and_movements_of_the_month_asked_for(ada: Person) -> None:
    year = next(YEARS)
    a_year(year)
    answer = ada.browser.get(f"{HOME}?month={year}-04")
    said = words(answer)
    assert answer.status_code == 200 and "unsafe" not in answer["Content-Security-Policy"]
    assert f"April {year}" in said and "MRR $427.00" in said and "ARR $5,124.00" in said
    assert "+$29.00 this month" in said and "Paying organisations 3" in said
    movements = said[said.index("They add up to the change") :]
    assert f"Mar {year} $228.00 – +$170.00 1 – – – $398.00 2" in movements
    assert f"Feb {year} $58.00 +$199.00 1 – – – -$29.00 1 $228.00 2" in movements
    assert "Team 2 $398.00 93.2%" in said
    assert "booked no revenue in these months" in said
    assert 'href="/staff/economics/"' in ada.browser.get("/staff/").content.decode()


def test_the_csv_sums_exactly(ada: Person) -> None:
    year = next(YEARS)
    a_year(year)
    rows = [row for row in table(ada.browser.get(f"{HOME}csv/economics/?month={year}-04")) if row["month"] >= f"{year}"]
    kinds = ("new", "expansion", "reactivation", "contraction", "churn")
    assert [row["month"] for row in rows] == [f"{year}-0{month}" for month in (1, 2, 3, 4)]
    for before, row in itertools.pairwise([None, *rows]):
        assert row is not None
        moved = sum(Decimal(row[kind]) for kind in kinds)
        assert Decimal(row["mrr_start"]) + moved == Decimal(row["mrr_end"])
        assert before is None or before["mrr_end"] == row["mrr_start"]
    assert Decimal(rows[-1]["reactivation"]) == 29 and rows[-1]["reactivation_organisations"] == "1"


def test_retention_and_cohorts(ada: Person) -> None:
    year = next(YEARS)
    a_year(year)
    said = words(ada.browser.get(f"{HOME}retention/?month={year}-04"))
    assert "Net retention 100.0%" in said and "Churn of organisations 0.0%" in said
    rows = table(ada.browser.get(f"{HOME}csv/retention/?month={year}-04"))
    rates = {(row["month"], row["figure"]): row["value"] for row in rows if row["part"] == "rate"}
    assert rates[f"{year}-02", "gross_retention"] == "0.5" and rates[f"{year}-02", "logo_churn"] == "0.5"
    assert Decimal(rates[f"{year}-03", "net_retention"]) == Decimal("1.745614035")
    assert rates[f"{year}-02", "net_retention_12_months"] == ""
    cohort = {
        (row["after_months"], row["figure"]): row["value"]
        for row in rows
        if (row["part"], row["month"]) == ("cohort", f"{year}-01")
    }
    assert [cohort[str(place), "organisations"] for place in range(4)] == ["2", "1", "1", "2"]
    assert [Decimal(cohort[str(place), "mrr"]) for place in range(4)] == [58, 29, 199, 228]
    page = ada.browser.get(f"{HOME}retention/?month={year}-04").content.decode()
    assert 'title="1/2">50%' in page and 'title="$228.00">393%' in page


def test_the_funnel_counts_each_step_of_those_who_signed_up_in_a_month(ada: Person) -> None:
    year = next(YEARS)
    people = [make_person(f"way{number}") for number in range(4)]
    signed_up = start_of(dt.date(year, 1, 10))
    with ops_scope("test"):
        Tenant.ops.filter(pk__in=[person.tenant.pk for person in people]).update(created_at=signed_up)
    made_file(people[0])
    made_file(people[1])
    made_model(people[0])
    with tenant_scope(people[0].tenant.id):
        File.objects.update(created_at=signed_up + dt.timedelta(days=2))
        Model.objects.update(created_at=signed_up + dt.timedelta(hours=1))
    with tenant_scope(people[1].tenant.id):
        File.objects.update(created_at=signed_up + dt.timedelta(days=5))
    changed(people[2], signed_up + dt.timedelta(days=9), status="trialing")
    changed(people[2], signed_up + dt.timedelta(days=23))
    changed(people[3], signed_up + dt.timedelta(days=9), plan="free", plan_version=2)
    rows = table(ada.browser.get(f"{HOME}csv/funnel/?month={year}-02"))
    row = next(row for row in rows if row["month"] == f"{year}-01")
    assert [row[name] for name in ("signed_up", "file", "model", "call", "paying")] == ["4", "2", "1", "0", "1"]
    assert Decimal(row["file_median_days"]) == Decimal("3.5") and Decimal(row["paying_median_days"]) == 23
    said = words(ada.browser.get(f"{HOME}funnel/?month={year}-02"))
    assert f"Jan {year} 4 2 50.0% · 3.5 d 1 25.0% · 60 min 0 0.0% 1 25.0% · 23.0 d" in said


def test_spending_is_entered_with_a_reason_and_tells_what_one_cost_to_win(ada: Person) -> None:
    asked = {"channel": "Fairs", "month": "2003-01", "amount": "$1,000.50", "reason": WHY}
    answer = ada.browser.post(f"{HOME}acquisition/", asked)
    assert answer.status_code == 302 and answer["Location"].endswith("?month=2003-01")
    people = [make_person("won0"), make_person("won1")]
    for person in people:
        changed(person, start_of(dt.date(2003, 1, 3)))
        changed(person, start_of(dt.date(2003, 3, 3)), status="canceled")
    for month, span in (("2003-01", "3"), ("2003-03", "3")):
        assert ada.browser.get(f"{HOME}acquisition/", {"month": month, "span": span}).status_code == 200
    rows = table(ada.browser.get(f"{HOME}csv/acquisition/?month=2003-03&span=3"))
    found = {(row["part"], row["channel"], row["figure"]): row["value"] for row in rows}
    assert Decimal(found["spend", "Fairs", "amount"]) == Decimal("1000.5") and found["sum", "", "won"] == "2"
    assert Decimal(found["figure", "", "acquisition"]) == Decimal("500.25")
    assert found["sum", "", "cost"] == "" and int(found["sum", "", "left"]) >= 2
    action = StaffAction.objects.filter(action="acquisition.spend").latest("at")
    assert (action.reason, action.detail["amount_nano"]) == (WHY, 1_000_500_000_000)
    said = words(ada.browser.get(f"{HOME}acquisition/?month=2003-03&span=3"))
    assert "Cost to win one $500.25" in said and "before that cost" in said and "Fairs $1,000.50 – – $1,000.50" in said


@pytest.mark.parametrize(
    ("changed_", "said"),
    [
        ({"amount": "0"}, "Enter an amount other than 0"),
        ({"amount": "1e400"}, "Amount: enter dollars"),
        ({"amount": "NaN"}, "Amount: enter dollars"),
        ({"amount": "0.001"}, "Amount: enter whole cents"),
        ({"amount": "-5"}, "take back at most that"),
        ({"month": "2999-01"}, "Choose a month that has begun"),
        ({"month": "soon"}, "Month: enter it as year and month"),
        ({"channel": "\u202e"}, "Give the channel a name"),
        ({"reason": "so"}, "at least 8 characters"),
    ],
)
def test_spending_that_cannot_be_is_refused_and_nothing_typed_is_lost(
    ada: Person, changed_: dict[str, str], said: str
) -> None:
    asked = {"channel": "Leaflets", "month": "2002-01", "amount": "5", "reason": WHY, **changed_}
    before = AcquisitionSpend.objects.count()
    answer = ada.browser.post(f"{HOME}acquisition/", asked)
    assert answer.status_code == 422 and said in words(answer) and b"<title>Error: " in answer.content
    assert f'value="{asked["amount"]}"' in answer.content.decode()
    assert AcquisitionSpend.objects.count() == before


@pytest.mark.parametrize("given", ["2026-13", "1066-10", "now", "'", "9999-12", "2026-11-30", "\u0662"])
def test_a_month_there_is_nothing_of_is_refused_in_words(ada: Person, given: str) -> None:
    for path in (*PATHS, *(f"{HOME}csv/{name}/" for name in NAMES)):
        answer = ada.browser.get(path, {"month": given})
        assert answer.status_code == 422 and "Month: choose one from" in words(answer)
        assert b"<title>Error: " in answer.content


def test_a_table_that_is_none_is_not_found(ada: Person) -> None:
    assert ada.browser.get(f"{HOME}csv/secrets/").status_code == 404
