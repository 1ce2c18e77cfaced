"""The API of an organisation in euros: fields that hold an amount end in its currency, read and sent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from billing.models import UsageEvent
from billing.prices import Usage
from billing.services.engines import engine_time_record
from billing.services.limits import project_limits_set
from billing.services.metering import usage_record, usage_rollup
from billing.services.storage import storage_record
from kit.amounts import called, places_of
from kit.clock import now
from kit.schema import COMPONENTS
from tenants.scope import ScopeError, tenant_scope
from tests.conftest import Person, make_person
from tests.training.making import body, queued, read, reload
from training import streaming
from training.services import money
from training.services.queueing import job_validate

BOOK = "2026-12-01.eur"
JOBS, SWEEPS = "/v1/fine_tuning/jobs", "/v1/fine_tuning/sweeps"
READS = [
    JOBS, SWEEPS, "/v1/batches", "/v1/requests", "/v1/requests/figures", "/v1/limits", "/v1/limits/decisions",
    "/v1/organization/costs?start_time={day}", "/v1/organization/usage/completions?start_time={day}",
    "/v1/billing/plans", "/v1/billing/subscription", "/v1/billing/wallet", "/v1/billing/events",
    "/v1/billing/budgets", "/v1/billing/months", "/v1/billing/invoices", "/v1/orders",
]  # fmt: skip


@pytest.fixture(scope="module")
def eve() -> Person:
    """In euros, with a job in the queue and a call that was made."""
    person = make_person("eve", currency="eur")
    queued(person, metadata={"cost_usd": "7"}, x_max_price_eur=3)
    with tenant_scope(person.tenant.id):
        usage_record(
            request_id="req_chat", usage=Usage("chat", "m", input_tokens=1000, output_tokens=100),
            project_id=person.project.id, key_id=person.key_row.pk,
        )  # fmt: skip
    usage_rollup(tenant_id=person.tenant.id)
    return person


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name != "metadata":
                yield name
                yield from names(one)
    elif isinstance(value, list):
        for one in value:
            yield from names(one)


@pytest.mark.parametrize("path", READS)
def test_no_answer_names_another_currency(eve: Person, path: str) -> None:
    answer = eve.api.get(path.format(day=int(now().timestamp()) - 86_400))
    assert answer.status_code == 200, answer.content
    found = list(names(answer.json()))
    assert not [name for name in found if name.endswith("_usd")]
    declared = any(name.endswith("_usd") for name in names(_declared(path)))
    assert any(name.endswith("_eur") for name in found) or not declared or not answer.json().get("data", True)


def _declared(path: str) -> Any:
    from django.urls import resolve

    return resolve(path.partition("?")[0]).func.view_class.get.answers


def test_what_an_answer_has_of_the_caller_keeps_its_name(eve: Person) -> None:
    (job,) = eve.api.get(JOBS).json()["data"]
    assert job["metadata"] == {"cost_usd": "7"} and "x_price_eur" in job


def test_usage_costs_and_events_are_of_the_book_in_euros(eve: Person) -> None:
    cost = 1000 * 90 + 100 * 360
    (event,) = eve.api.get("/v1/billing/events").json()["data"]
    assert (event["cost_eur"], event["x_cost_nano"], event["price_version"]) == (cost / 1e9, cost, BOOK)
    since = int(now().timestamp()) - 86_400
    buckets = eve.api.get(f"/v1/organization/costs?start_time={since}").json()["data"]
    (money_of,) = [one["amount"] for bucket in buckets for one in bucket["results"]]
    assert money_of == {"value": cost / 1e9, "currency": "eur"}
    raw = b"".join(eve.api.get("/v1/billing/events/csv").streaming_content).decode()
    (row,) = csv.DictReader(io.StringIO(raw))
    assert row["cost_eur"] == "0.000126" and "cost_usd" not in row


def test_the_organisation_s_currency_is_said(eve: Person) -> None:
    assert eve.api.get("/v1/billing/wallet").json()["currency"] == "eur"
    assert eve.api.get("/v1/billing/subscription").json()["currency"] == "eur"
    assert make_person("ada", currency="usd").api.get("/v1/billing/wallet").json()["currency"] == "usd"


def test_plans_offered_have_a_price_in_euros(eve: Person) -> None:
    plans = {plan["id"]: plan for plan in eve.api.get("/v1/billing/plans").json()["data"]}
    for name in ("developer", "team"):
        assert {"interval": "month", "currency": "eur"}.items() <= _price(plans[name], "eur").items()
        assert plans[name]["included_eur"] > 0 and plans[name]["limits"]["monthly_spend_eur"] > 0


def _price(plan: dict[str, Any], code: str) -> dict[str, Any]:
    (found,) = [one for one in plan["prices"] if one["currency"] == code and one["interval"] == "month"]
    return dict(found)


def test_a_job_is_estimated_held_and_charged_in_euros(eve: Person) -> None:
    answer = eve.api.post(f"{JOBS}/estimate", body(eve)).json()
    assert answer["price_eur"]["ceiling"] * 1e9 == pytest.approx(answer["tokens"] * 360), "360 nano a token"
    job = queued(eve)
    assert (job.price_version, job.ceiling_nano) == (BOOK, pytest.approx(answer["price_eur"]["ceiling"] * 1e9))
    with tenant_scope(eve.tenant.id):
        assert money.settle(job, trained_tokens=900, machine_ms=5) == 324_000
        event = UsageEvent.objects.get(kind="training")
    assert (event.price_version, event.cost_nano) == (BOOK, 324_000)


def test_a_body_names_the_ceiling_by_its_currency(eve: Person) -> None:
    answer = eve.api.post(JOBS, body(eve, x_max_price_usd=5))
    assert answer.status_code == 400
    said = answer.json()["error"]
    assert "This organisation pays in EUR: the field is x_max_price_eur." in said["message"]
    assert said["param"] == "x_max_price_usd"
    said = eve.api.post(JOBS, body(eve, x_max_price_eur=-1)).json()["error"]
    assert said["param"] == "x_max_price_eur"
    said = eve.api.post(JOBS, body(eve, cost_usd=5)).json()["error"]
    assert said["param"] == "cost_usd" and "x_max_price_eur" in said["message"]
    ada = make_person("ada", currency="usd")
    said = ada.api.post(JOBS, body(ada, x_max_price_eur=5)).json()["error"]
    assert said["message"].startswith("x_max_price_eur: Unknown field.")


def test_a_ceiling_that_buys_nothing_is_named_as_it_was_sent(eve: Person) -> None:
    answer = eve.api.post(JOBS, body(eve, x_max_price_eur=0.000001))
    job = reload(eve, answer.json()["id"])
    assert job_validate(tenant_id=eve.tenant.id, job_id=job.pk) == "failed"
    error = read(eve, job)["error"]
    assert error["param"] == "x_max_price_eur"
    assert "more than x_max_price_eur (€0.000001)" in error["message"]
    said = eve.api.post(f"{JOBS}/estimate", body(eve, x_max_price_eur=0.000001)).json()["error"]
    assert said["param"] == "x_max_price_eur" and "x_max_price_eur" in said["message"]


def test_a_create_is_replayed_under_the_same_names(eve: Person) -> None:
    wanted = body(eve, x_max_price_eur=4)
    first, again = (eve.api.post(JOBS, wanted, Idempotency_Key="once") for _ in range(2))
    assert again.headers["Idempotent-Replayed"] == "true" and again.json() == first.json()
    assert "x_price_eur" in first.json()


def test_a_stream_of_a_job_names_its_price_likewise(eve: Person) -> None:
    job = queued(eve)
    found, _events, _final = streaming._look(eve.tenant.id, eve.project.id, job.pk, 0)
    assert "x_price_eur" in found and "x_price_usd" not in found


def test_a_wallet_is_changed_by_names_in_euros(eve: Person) -> None:
    path = "/v1/billing/wallet"
    changed = eve.api.post(path, {"on_account_eur": 7, "slow_below_eur": 2.5}).json()
    assert (changed["slow_below_eur"], changed["x_slow_below_nano"]) == (2.5, 2_500_000_000)
    top_up = {"below_usd": 5, "amount_eur": 20, "month_most_eur": 60, "consent": True}
    said = eve.api.post(path, {"auto_top_up": top_up}).json()["error"]
    assert said["param"] == "auto_top_up.below_usd" and "the field is below_eur" in said["message"]
    low = {"below_eur": 5, "amount_eur": 20, "month_most_eur": 1, "consent": True}
    said = eve.api.post(path, {"auto_top_up": low}).json()["error"]
    assert said["param"] == "auto_top_up.month_most_eur" and "€" in said["message"] and "$" not in said["message"]


def test_storage_and_engines_are_priced_by_the_book_in_euros() -> None:
    eve = make_person("eve", currency="eur")
    with tenant_scope(eve.tenant.id):
        hour = now().replace(minute=0, second=0, microsecond=0)
        assert storage_record(hour=hour, stored={eve.project.id: 10**9}) == 125_000
        engine = engine_time_record(
            request_id="engine", project_id=eve.project.id, model="m", seconds=10, at=now()
        )  # fmt: skip
        assert engine.cost_nano == 10 * 90_000
        assert set(UsageEvent.objects.values_list("price_version", flat=True)) == {BOOK}


def test_nothing_is_priced_without_knowing_for_whom(eve: Person) -> None:
    with pytest.raises(ScopeError):
        money.price_version()
    with pytest.raises(ScopeError):
        usage_record(request_id="r", usage=Usage("chat", "m"), project_id=eve.project.id, key_id=None)


def test_a_job_beyond_a_spend_limit_is_told_in_euros(eve: Person) -> None:
    poor = make_person("poor", currency="eur")
    with tenant_scope(poor.tenant.id):
        project_limits_set(project=poor.project, limits={"monthly_spend_nano": 7})
    job = reload(poor, poor.api.post(JOBS, body(poor)).json()["id"])
    assert job_validate(tenant_id=poor.tenant.id, job_id=job.pk) == "failed"
    message = read(poor, job)["error"]["message"]
    assert "€" in message and "$" not in message and "Lower x_max_price_eur" in message


def test_amounts_are_found_wherever_an_answer_declares_them() -> None:
    text = json.dumps(COMPONENTS)
    assert '"x_price_usd"' in text
    schema = {
        "type": "object",
        "properties": {
            "cost_usd": {"type": "number"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "by": {"type": "object", "additionalProperties": {"properties": {"paid_usd": {}}}},
            "rows": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"properties": {"left_usd": {}}}]}},
        },
    }
    answer = {
        "cost_usd": 1, "metadata": {"cost_usd": "x"}, "by": {"some_usd": {"paid_usd": 2}},
        "rows": ["left_usd", {"left_usd": 3, "own_usd": 4}],
    }  # fmt: skip
    assert called(answer, places_of(schema), "eur") == {
        "cost_eur": 1, "metadata": {"cost_usd": "x"}, "by": {"some_usd": {"paid_eur": 2}},
        "rows": ["left_usd", {"left_eur": 3, "own_usd": 4}],
    }  # fmt: skip
    assert called(answer, places_of(schema), "usd") is answer
