"""The economics with organisations that pay in euros: each amount in dollars by its month's rate, then added up."""

import datetime as dt
import hashlib
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from billing import checks
from billing.models import MachineHour, SubscriptionMonth
from billing.periods import start_of
from billing.prices import PriceError, rates_file
from billing.prices.rates_file import quoted, rate, rate_lists
from billing.selectors.house import in_house
from billing.services.changes import month_take
from kit.clock import now
from ops.live_figures import _calls
from tenants.scope import ops_scope
from tests.billing.subscribed import YEARS, changed
from tests.conftest import Person, make_person
from tests.ops.test_economics import table
from tests.ops.test_margins import booked, trained, used
from tests.ops.test_planner import words

NANO = 10**9
Folder = Callable[..., Path]


def told(version: str, since: str, rates: str) -> str:
    """A file of rates."""
    return f'version = "{version}"\neffective_from = {since}\n[usd_for_one]\n{rates}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Makes a folder of files, with their digests."""

    def made(**files: str) -> Path:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        for name, text in files.items():
            (place / f"{name}.toml").write_text(text)
        digests = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in place.glob("*.toml")]
        (place / "SHA256SUMS").write_text("".join(digests))
        return place

    return made


@pytest.fixture
def year(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> int:
    """A year of its own: a euro is $1.16 in January and February, $1.10 from March on."""
    found = next(YEARS)
    files = folder(a=told("a", f"{found - 1}-01-01", 'eur = "1.16"'), b=told("b", f"{found}-03-01", 'eur = "1.10"'))
    monkeypatch.setattr(rates_file, "FOLDER", files)
    return found


def two_who_pay(year: int) -> tuple[Person, Person]:
    """$29 and 27 euros a month from January on; who pays in euros leaves in April."""
    dollars, euros = make_person("dollars", currency="usd"), make_person("euros", currency="eur")
    changed(dollars, start_of(dt.date(year, 1, 5)), plan_version=6)
    changed(euros, start_of(dt.date(year, 1, 5)), plan_version=6)
    changed(euros, start_of(dt.date(year, 4, 5)), plan_version=6, status="canceled")
    booked(dollars, start_of(dt.date(year, 2, 7)), 2 * NANO)
    booked(euros, start_of(dt.date(year, 2, 7)), 3 * NANO)
    booked(euros, start_of(dt.date(year, 3, 31)), 3 * NANO + 15)
    return dollars, euros


def test_mrr_and_booked_revenue_are_added_up_in_dollars(ada: Person, year: int) -> None:
    two_who_pay(year)
    rows = table(ada.browser.get(f"/staff/economics/csv/economics/?month={year}-04"))
    mine = {row["month"]: row for row in rows if row["month"] >= f"{year}"}
    ends = [Decimal(mine[f"{year}-0{month}"]["mrr_end"]) for month in (1, 2, 3, 4)]
    # 29 + 27 x 1.16; the same; 29 + 27 x 1.10; 29
    assert ends == [Decimal("60.32"), Decimal("60.32"), Decimal("58.70"), Decimal(29)]
    assert Decimal(mine[f"{year}-03"]["contraction"]) == Decimal("-1.62"), "27 x (1.10 - 1.16)"
    assert Decimal(mine[f"{year}-04"]["churn"]) == Decimal("-29.70")
    assert Decimal(mine[f"{year}-02"]["booked_usage"]) == Decimal("5.48"), "2 + 3 x 1.16"
    assert Decimal(mine[f"{year}-03"]["booked_usage"]) == Decimal("3.300000016"), "16.5 nano go to the even 16"
    said = words(ada.browser.get(f"/staff/economics/?month={year}-03"))
    assert "MRR $58.70" in said and "Developer 2 $58.70 100.0%" in said
    assert f"at the rate of its last day, the running month's at today's. €1 = $1.16, from Mar {year} $1.10." in said
    assert "€1 = $1.16." in words(ada.browser.get(f"/staff/economics/?month={year}-02"))


def test_a_month_that_is_kept_stays_in_its_organisations_currency(ada: Person, year: int) -> None:
    _dollars, euros = two_who_pay(year)
    month_take(dt.date(year, 1, 1))
    with ops_scope("test"):
        kept = SubscriptionMonth.ops.get(tenant=euros.tenant, month=dt.date(year, 1, 1))
    assert kept.mrr_nano == 27 * NANO
    assert "MRR $60.32" in words(ada.browser.get(f"/staff/economics/?month={year}-01"))


def test_retention_and_cohorts_are_in_dollars(ada: Person, year: int) -> None:
    two_who_pay(year)
    rows = table(ada.browser.get(f"/staff/economics/csv/retention/?month={year}-04"))
    began = [
        row["value"] for row in rows if (row["part"], row["month"], row["figure"]) == ("cohort", f"{year}-01", "mrr")
    ]
    assert [Decimal(value) for value in began] == [Decimal("60.32"), Decimal("60.32"), Decimal("58.70"), Decimal(29)]
    rates = {(row["month"], row["figure"]): row["value"] for row in rows if row["part"] == "rate"}
    assert abs(Decimal(rates[f"{year}-03", "net_retention"]) - Decimal("58.70") / Decimal("60.32")) < Decimal("1e-6")
    assert "€1 = $1.16, from" in words(ada.browser.get(f"/staff/economics/retention/?month={year}-04"))


def test_lifetime_value_is_in_dollars(ada: Person, year: int) -> None:
    two_who_pay(year)
    address = f"?month={year}-04&span=3"
    rows = table(ada.browser.get(f"/staff/economics/csv/acquisition/{address}"))
    found = {(row["part"], row["figure"]): row["value"] for row in rows}
    # 60.32 + 58.70 + 29 of plans, 5.48 + 3.300000016 booked; five months paid, one of six left
    assert Decimal(found["sum", "revenue"]) == Decimal("156.800000016")
    assert Decimal(found["figure", "revenue_each"]) == Decimal("31.3600000032").quantize(
        Decimal(found["figure", "revenue_each"])
    )
    assert abs(Decimal(found["figure", "value"]) - Decimal("188.1600000192")) < Decimal("1e-6")
    said = words(ada.browser.get(f"/staff/economics/acquisition/{address}"))
    assert "Lifetime value $188.16" in said and f"€1 = $1.16, from Mar {year} $1.10." in said


def test_margins_by_organisation_model_and_job_are_in_dollars(ada: Person, year: int) -> None:
    dollars, euros = two_who_pay(year)
    hour = start_of(dt.date(year, 3, 9))
    MachineHour.objects.create(
        machine="eng-eur", machine_class="engine", hour=hour, capacity_ms=3_600_000, busy_ms=0, cost_nano=216_000_000,
        price_version="2026-11-30", looked_at=hour,
    )  # fmt: skip
    used(dollars, hour, "refunds", 1_000, NANO)
    used(euros, hour, "refunds", 3_000, 2 * NANO)
    trained(euros, hour, 1, "host-eur", 4 * NANO)
    rows = table(ada.browser.get(f"/staff/economics/csv/margin/?month={year}-03"))
    revenue = {
        (row["part"], row["organisation"], row["purpose"]): Decimal(row["revenue"]) for row in rows if row["revenue"]
    }
    ours, theirs = dollars.tenant.name, euros.tenant.name
    assert revenue["organisation", theirs, ""] == Decimal("3.300000016")
    assert revenue["model", ours, "calls"] == 1 and revenue["model", theirs, "calls"] == Decimal("2.20")
    assert [value for key, value in revenue.items() if key[0] == "job"] == [Decimal("4.40")]
    mine = next(row for row in rows if (row["part"], row["organisation"]) == ("organisation", theirs))
    assert Decimal(mine["margin_idle_pro_rata"]) == Decimal("3.300000016") - Decimal("0.162"), "three quarters of it"
    assert "€1 = $1.10." in words(ada.browser.get(f"/staff/economics/margin/?month={year}-03"))


def test_nothing_is_said_where_all_pay_in_dollars(ada: Person, year: int) -> None:
    changed(make_person("only", currency="usd"), start_of(dt.date(year, 1, 5)))
    for path in ("", "retention/", "acquisition/", "margin/"):
        assert "Other currencies" not in words(ada.browser.get(f"/staff/economics/{path}?month={year}-01"))


def test_the_planner_reads_calls_in_dollars(year: int) -> None:
    euros = make_person("calls", currency="eur")
    with ops_scope("test"):
        before = _calls(now())
    used(euros, now() - dt.timedelta(hours=2), "refunds", 7, 3 * NANO)
    with ops_scope("test"):
        after = _calls(now())
    assert {name: after[name] - before[name] for name in after} == {
        "nano": 3_300_000_000, "requests": 10, "ms": 7, "tenants": 1
    }  # fmt: skip


def test_the_running_month_takes_todays_rate(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    today = now().astimezone(dt.UTC).date()
    tomorrow = today + dt.timedelta(days=1)
    files = folder(a=told("a", "2026-01-01", 'eur = "1.25"'), b=told("b", f"{tomorrow}", 'eur = "9"'))
    monkeypatch.setattr(rates_file, "FOLDER", files)
    assert in_house(-10, "eur", today.replace(day=1)) == -12, "12.5 goes to the even 12"
    assert in_house(7, "usd", today.replace(day=1)) == 7


def test_each_currency_is_a_line_of_its_own(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = told("a", "2026-01-01", 'eur = "1.16"')
    second = told("b", "2026-07-01", 'chf = "1.234567891"')
    monkeypatch.setattr(rates_file, "FOLDER", folder(a=first, b=second))
    assert rate("eur", dt.date(2026, 9, 1)) == Fraction(116, 100), "a later file names only what changed"
    assert quoted("chf", dt.date(2026, 2, 1)) == Decimal("1.234567891"), "before its first file its first rate holds"
    assert rate("usd", dt.date(1900, 1, 1)) == 1
    with pytest.raises(PriceError, match="names gbp"):
        rate("gbp", dt.date(2026, 9, 1))


def test_a_book_without_a_rate_stops_the_start(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.rates_known(None) == []
    monkeypatch.setattr(rates_file, "FOLDER", folder(a=told("a", "2026-01-01", 'chf = "1.1"')))
    (error,) = checks.rates_known(None)
    assert error.id == "billing.E002" and "no file of rates names eur" in error.msg


def test_a_file_that_is_changed_gone_or_not_listed_is_refused(folder: Folder) -> None:
    good = told("a", "2026-01-01", 'eur = "1.16"')
    place = folder(a=good)
    (place / "a.toml").write_text(good.replace("1.16", "1.17"))
    with pytest.raises(PriceError, match=r"a\.toml differs .* need a new file"):
        rate_lists(place)
    (place / "a.toml").unlink()
    with pytest.raises(PriceError, match=r"gone: a\.toml"):
        rate_lists(place)
    place = folder(a=good)
    (place / "b.toml").write_text(told("b", "2026-02-01", 'eur = "1.16"'))
    with pytest.raises(PriceError, match=r"b\.toml has no line in SHA256SUMS"):
        rate_lists(place)
    with pytest.raises(PriceError, match="both hold from 2026-01-01"):
        rate_lists(folder(a=good, b=good.replace('"a"', '"b"')))


@pytest.mark.parametrize(
    "rates",
    ["eur = 1.16", 'eur = "0"', 'eur = "-1"', 'eur = "1,16"', 'eur = "1.1234567891"', 'eur = "nan"', 'eur = "1e3"',
     'usd = "1"', 'EUR = "1.16"', 'euro = "1.16"', "", "eur ="],
)  # fmt: skip
def test_nonsense_is_refused_in_words(folder: Folder, rates: str) -> None:
    with pytest.raises(PriceError, match=r"^a\.toml"):
        rate_lists(folder(a=told("a", "2026-01-01", rates)))


@pytest.mark.parametrize(("old", "new"), [('"a"', '"b"'), ("2026-01-01", '"soon"'), ("version", "name")])
def test_so_is_a_file_without_its_day_or_name(folder: Folder, old: str, new: str) -> None:
    with pytest.raises(PriceError, match=r"^a\.toml"):
        rate_lists(folder(a=told("a", "2026-01-01", 'eur = "1.16"').replace(old, new)))
