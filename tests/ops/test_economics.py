"""The economics pages as staff use them. The books are of all tenants and stay: each test has years of its own."""

import csv
import datetime as dt
import io
import itertools
from decimal import Decimal
from typing import Any

import pytest

from billing.periods import start_of
from tests.billing.subscribed import YEARS, changed
from tests.conftest import Cast, Person, make_person
from tests.ops.test_planner import words

HOME = "/staff/economics/"
PATHS = (HOME, f"{HOME}retention/")
NAMES = ("economics", "retention")


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


@pytest.mark.parametrize("given", ["2026-13", "1066-10", "now", "'", "9999-12", "2026-11-30", "\u0662"])
def test_a_month_there_is_nothing_of_is_refused_in_words(ada: Person, given: str) -> None:
    for path in (*PATHS, *(f"{HOME}csv/{name}/" for name in NAMES)):
        answer = ada.browser.get(path, {"month": given})
        assert answer.status_code == 422 and "Month: choose one from" in words(answer)
        assert b"<title>Error: " in answer.content


def test_a_table_that_is_none_is_not_found(ada: Person) -> None:
    assert ada.browser.get(f"{HOME}csv/secrets/").status_code == 404
