"""The unit-economics planner as staff use it: inputs, results, CSV, kept scenarios, live figures."""

import csv
import datetime as dt
import io
import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from billing.economics import EXAMPLE
from billing.models import MachineHour, UsageHour
from kit.clock import now
from ops.live_figures import live_figures
from ops.models import Scenario, StaffAction
from ops.planning import MOST_SCENARIOS
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.ops.conftest import aged
from training.models import Attempt

PAGE = "/staff/planner/"
WHY = "asked for by the board"


def asked(**changed: str) -> str:
    """The address of the reference case, with some inputs of its own."""
    return f"{PAGE}?{urlencode({**EXAMPLE, **changed})}"


def words(answer: Any) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def save(ada: Person, name: str, **changed: str) -> Any:
    """Keep a plan."""
    return ada.browser.post(PAGE, {**EXAMPLE, "share": "0.1", "name": name, "reason": WHY, **changed})


@pytest.fixture(autouse=True)
def _no_scenarios() -> Any:
    yield
    Scenario.objects.all().delete()


def test_only_staff_open_it(cast: Cast) -> None:
    for path in (PAGE, f"{PAGE}csv/", f"{PAGE}scenarios/"):
        assert cast.owner.browser.get(path).status_code in (302, 404)
        assert b"Break-even" not in cast.owner.browser.get(path, follow=True).content


def test_it_opens_with_the_worked_example_and_its_sums(ada: Person) -> None:
    answer = ada.browser.get(PAGE)
    said = words(answer)
    assert answer.status_code == 200 and "A worked example." in said
    for sum_ in ("$180,002,010", "$1,005,020,000", "$825,017,990"):
        assert sum_ in said
    assert "at least 36" in said and "Revenue covers the cost from 36 units on." in said
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert answer.content.decode().count('class="swing"') == 13, "the inputs that move the profit"
    assert 'href="/staff/planner/"' in ada.browser.get("/staff/").content.decode()


def test_a_plan_lives_in_its_address(ada: Person) -> None:
    said = words(ada.browser.get(asked(market_size="2,000", fixed_cost="500")))
    assert "$330,004,520" in said and "A worked example." not in said
    assert "$825,017,990" in words(ada.browser.get(asked(irrelevant="1"))), "what is no input is left alone"


def test_what_cannot_be_is_refused_at_its_field_and_nothing_typed_is_lost(ada: Person) -> None:
    answer = ada.browser.get(asked(retention="1.2", market_size="many", training_days=""))
    text, said = answer.content.decode(), words(answer)
    assert answer.status_code == 422 and "<title>Error: " in text
    assert (
        "There is a problem" in said
        and "share from 0 to 1" in said
        and "Market size: enter a number, for example 1000." in said
    )
    assert "Training days: enter a number, for example 30." in said
    assert 'value="many"' in text and 'value="1.2"' in text and "$825,017,990" not in said
    for bad in ("-1", "1e400", "9" * 5000, "<script>alert(1)</script>", "\u0664", "NaN"):
        answer = ada.browser.get(asked(data_cost=bad))
        assert answer.status_code == 422 and b"<script>alert" not in answer.content
    assert ada.browser.get(asked(share="7")).status_code == 422
    assert ada.browser.get(f"{PAGE}csv/?{urlencode({**EXAMPLE, 'retention': '2'})}").status_code == 422


def test_extremes_are_computed_and_drawn(ada: Person) -> None:
    for value in ("0", "1"):
        assert ada.browser.get(f"{PAGE}?{urlencode(dict.fromkeys(EXAMPLE, value))}").status_code == 200
    most = {name: "1" if name in ("retention", "conversion") else str(10**12) for name in EXAMPLE}
    assert ada.browser.get(f"{PAGE}?{urlencode({**most, 'budget': '1'})}").status_code == 200
    least = {**dict.fromkeys(EXAMPLE, "0.000000001"), "market_size": "1"}
    assert ada.browser.get(f"{PAGE}?{urlencode(least)}").status_code == 200


def test_a_budget_says_where_it_ends_and_what_it_pays_for(ada: Person) -> None:
    said = words(ada.browser.get(asked(budget="100000000")))
    assert "$100,000,000 is used up in: Adaptation. The plan costs $80,002,010 more." in said
    assert "Largest market size that it pays for 466" in said
    assert "leaves $19,997,990" in words(ada.browser.get(asked(budget="200000000")))
    assert "no market size that it pays for" in words(ada.browser.get(asked(budget="5")))


def test_the_csv_holds_every_figure_to_the_last_digit(ada: Person) -> None:
    query = urlencode({**EXAMPLE, "data_cost": "0.010000001", "budget": "1000000000"})
    answer = ada.browser.get(f"{PAGE}csv/?{query}")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    figures = {(row["part"], row["name"], row["figure"]): row["value"] for row in rows}
    assert "unit-economics.csv" in answer["Content-Disposition"]
    assert Decimal(figures["total", "", "cost"]) == Decimal("180002010.000001")
    assert Decimal(figures["total", "", "profit"]) == Decimal("825017989.999999")
    assert Decimal(figures["break_even", "market_size", "at_least"]) == 36
    assert Decimal(figures["sensitivity", "retention", "low"]) == Decimal("0.18")
    assert Decimal(figures["budget", "", "most_units"]) > 1000
    assert ("break_even", "transaction_revenue", "always") in figures
    parts = {row["part"] for row in rows}
    assert parts == {"input", "phase", "total", "break_even", "sensitivity", "budget", "curve"}
    phases = [Decimal(row["value"]) for row in rows if row["part"] == "phase" and row["figure"] == "profit"]
    assert sum(phases) == Decimal(figures["total", "", "profit"])


def test_scenarios_are_kept_once_by_name_and_each_is_in_the_staff_log(ada: Person) -> None:
    answer = save(ada, "  Northern   clinics ", retention="0.3")
    row = Scenario.objects.get()
    assert answer.status_code == 302 and answer["Location"] == f"{PAGE}?scenario={row.pk}"
    assert row.name == "Northern clinics" and row.inputs == {**EXAMPLE, "retention": "0.3"}
    done = StaffAction.objects.get(action="scenario.save", target_id=str(row.pk))
    assert (done.reason, done.actor_label, done.organisation) == (WHY, ada.user.email, None)
    kept = ada.browser.get(answer["Location"])
    assert "Northern clinics" in words(kept) and 'value="0.3"' in kept.content.decode()
    again = save(ada, "northern CLINICS")
    assert again.status_code == 422 and "Choose another name." in words(again) and Scenario.objects.count() == 1


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"name": ""}, "required"),
        ({"reason": "short"}, "at least 8 characters"),
        ({"name": "n" * 81}, "at most 80 characters"),
        ({"name": "a\u202eb"}, "at most 80 characters"),
        ({"market_size": "-4"}, "negative"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_plan_still_there(ada: Person, sent: dict[str, str], said: str) -> None:
    answer = ada.browser.post(PAGE, {**EXAMPLE, "name": "A case", "reason": WHY, **sent})
    assert answer.status_code == 422 and said in words(answer) and not Scenario.objects.exists()
    assert 'name="market_size" value="' in answer.content.decode()


def test_no_more_are_kept_than_a_page_shows(ada: Person) -> None:
    Scenario.objects.bulk_create(
        Scenario(name=f"case {number}", inputs=EXAMPLE, created_by="ada") for number in range(MOST_SCENARIOS)
    )
    answer = save(ada, "one more")
    assert answer.status_code == 422 and "Remove one" in words(answer)


def test_scenarios_stand_side_by_side_against_the_first_chosen(ada: Person) -> None:
    assert "No scenario is saved yet." in words(ada.browser.get(f"{PAGE}scenarios/"))
    save(ada, "As planned")
    save(ada, "Few stay", retention="0.01")
    first, second = (Scenario.objects.get(name=name) for name in ("As planned", "Few stay"))
    query = urlencode({"scenario": [str(first.pk), str(second.pk)]}, doseq=True)
    said = words(ada.browser.get(f"{PAGE}scenarios/?{query}"))
    assert "Side by side" in said and "-$950,000,000" in said and "-$124,982,010" in said
    assert "a loss at every value" in said
    turned = urlencode({"scenario": [str(second.pk), str(first.pk)]}, doseq=True)
    assert "+$950,000,000" in words(ada.browser.get(f"{PAGE}scenarios/?{turned}"))
    gone = ada.browser.get(f"{PAGE}scenarios/?scenario=nonsense")
    assert gone.status_code == 200 and "may have been removed" in words(gone)
    assert "There is no such scenario" in words(ada.browser.get(f"{PAGE}?scenario=nonsense"))


def test_removing_one_asks_why_and_for_a_second_factor(ada: Person) -> None:
    save(ada, "To be removed")
    row = Scenario.objects.get()
    path = f"/staff/ops/scenario/{row.pk}/remove/"
    assert ada.browser.post(path, {"reason": "no"}).status_code == 422 and Scenario.objects.exists()
    done = ada.browser.post(path, {"reason": WHY})
    assert done.status_code == 302 and done["Location"] == f"{PAGE}scenarios/" and not Scenario.objects.exists()
    action = StaffAction.objects.get(action="scenario.remove", target_id=str(row.pk))
    assert action.detail["inputs"] == EXAMPLE and action.reason == WHY
    save(ada, "To stay")
    row = Scenario.objects.get()
    aged(ada, proved=3600)
    asked_again = ada.browser.post(f"/staff/ops/scenario/{row.pk}/remove/", {"reason": WHY})
    assert asked_again.status_code == 302 and "/staff/login/" in asked_again["Location"] and Scenario.objects.exists()


def hour_of(tenant_id: Any, *, ago: dt.timedelta, kind: str = "classify", **sums: int) -> None:
    """An hour of usage."""
    moment = (now() - ago).replace(minute=0, second=0, microsecond=0)
    with tenant_scope(tenant_id):
        UsageHour.objects.create(
            project_id=tenant_id, model="m", kind=kind, price_version="2026-11-30.3", hour=moment,
            input_tokens=0, output_tokens=0, events=1,
            **{"requests": 0, "gpu_ms": 0, "cost_nano": 0, **sums},
        )  # fmt: skip


def no_usage() -> None:
    """Forget the usage and the trainings of other tests."""
    with ops_scope("forget"):
        UsageHour.ops.all().delete()
        Attempt.ops.all().update(machine_ms=0)


def test_live_figures_are_measured_where_they_can_be_and_the_rest_is_left(ada: Person, cast: Cast) -> None:
    no_usage()
    day = dt.timedelta(days=1)
    hour_of(cast.owner.tenant.id, ago=2 * day, requests=300, gpu_ms=1500, cost_nano=600_000)
    hour_of(cast.owner.tenant.id, ago=2 * day, kind="storage", requests=999, cost_nano=10**9)
    hour_of(cast.owner.tenant.id, ago=40 * day, requests=10)
    hour_of(ada.tenant.id, ago=3 * day, requests=100, gpu_ms=500, cost_nano=200_000)
    hour_of(cast.stranger.tenant.id, ago=45 * day, requests=10)
    with ops_scope("look"):
        found = live_figures()
    assert found["transactions"].value == 200, "400 calls of two organisations"
    assert found["transaction_revenue"].value == Decimal("0.000002"), "800,000 nano-dollars over 400 calls"
    assert found["transaction_cost"].value == Decimal("0.0000005"), "5 ms of an engine at 0.0001 dollars a second"
    assert found["retention"].value == Decimal("0.5"), "one of two came again"
    assert found["conversion"].value is not None and 0 <= found["conversion"].value <= 1
    for name in ("market_size", "data_cost", "promotion_cost", "adaptation_cost", "consumption", "fixed_cost"):
        assert found[name].value is None and found[name].words
    answer = ada.browser.get(asked(promotion_cost="12.34", live="1"))
    text, said = answer.content.decode(), words(answer)
    assert answer.status_code == 200 and "Taken from live figures" in said and "1 of 2" not in said
    assert 'value="12.34"' in text and 'name="retention" value="0.5"' in text
    assert "Not measured. No table knows how large a market is." in said
    no_usage()


def test_live_costs_are_our_own_where_machines_are_counted(ada: Person, cast: Cast) -> None:
    no_usage()
    day, nano = dt.timedelta(days=1), 10**9
    began = now().replace(minute=0, second=0, microsecond=0) - 10 * day
    kept = [
        MachineHour.objects.create(
            machine=f"live-{kind}", machine_class=kind, hour=began, capacity_ms=5, cost_nano=cost,
            price_version="2026-11-30", looked_at=began,
        )
        for kind, cost in (("engine", 3 * nano), ("engine_own", nano), ("trainer_gpu", 20 * nano))
    ]  # fmt: skip
    hour_of(cast.owner.tenant.id, ago=2 * day, requests=800, gpu_ms=1500, cost_nano=600_000)
    hour_of(cast.owner.tenant.id, ago=20 * day, requests=1000, gpu_ms=1500, cost_nano=600_000)
    with ops_scope("look"):
        found = live_figures()
    assert found["transaction_cost"].value == Decimal("0.005"), "calls before the first look have no cost"
    daily = found["training_cost"].value
    assert daily is not None and Decimal("1.98") < daily <= 2 and "idle time included" in found["training_cost"].words
    MachineHour.objects.filter(pk__in=[row.pk for row in kept]).delete()
    no_usage()


def test_without_any_data_the_inputs_stay_as_they_are(ada: Person) -> None:
    no_usage()
    answer = ada.browser.get(asked(retention="0.4", live="1"))
    assert answer.status_code == 200 and 'name="retention" value="0.4"' in answer.content.decode()
    assert "Nobody made a call 31 to 60 days ago." in words(answer)
