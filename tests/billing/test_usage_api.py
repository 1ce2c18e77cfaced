"""`/v1/organization/usage/*` and `/costs`, through the official client and by hand."""

from __future__ import annotations

import datetime as dt
import json

import msgspec
import pytest

from billing.metering.events import decode, encode
from billing.services.limits import project_limits_set, spend_limit_set
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.ids import new_id
from tenants.scope import tenant_scope
from tests.billing.money import call, store_events
from tests.conftest import Cast

DAY = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
START = int(DAY.timestamp())


@pytest.fixture
def used(cast: Cast) -> Cast:
    """Two days of the owner's calls, rolled up."""
    owner = cast.owner
    where = {"project_id": owner.project.id, "key_id": owner.key_row.id}
    store_events(
        [
            call(owner.tenant.id, 1, cost=2_000, at=DAY + dt.timedelta(hours=1), **where),
            call(owner.tenant.id, 2, cost=4_000, at=DAY + dt.timedelta(hours=1, minutes=5), **where),
            call(owner.tenant.id, 3, cost=6_000, at=DAY + dt.timedelta(days=1), model="other", **where),
            call(owner.tenant.id, 4, cost=500, at=DAY, kind="embeddings", **where),
        ]
    )
    usage_rollup(tenant_id=owner.tenant.id)
    return cast


def get(cast: Cast, path: str) -> dict[str, object]:
    response = cast.owner.api.get(f"/v1/organization/{path}")
    assert response.status_code == 200, response.content
    return json.loads(response.content)


def test_usage_comes_in_daily_buckets_with_empty_ones_between(used: Cast) -> None:
    page = get(used, f"usage/classify?start_time={START}&end_time={START + 3 * 86400}")
    assert page["object"] == "page" and page["has_more"] is False and page["next_page"] is None
    data = page["data"]
    assert isinstance(data, list)
    assert [bucket["start_time"] for bucket in data] == [START, START + 86400, START + 2 * 86400]
    first = data[0]["results"][0]
    assert first["object"] == "organization.usage.classify.result"
    assert (first["input_tokens"], first["num_model_requests"], first["project_id"]) == (300, 2, None)
    assert data[2]["results"] == []


def test_usage_groups_by_model_key_and_project(used: Cast) -> None:
    page = get(
        used,
        f"usage/classify?start_time={START}&end_time={START + 2 * 86400}&group_by[]=model&group_by[]=api_key_id"
        "&group_by=project_id",
    )
    results = [result for bucket in page["data"] for result in bucket["results"]]  # type: ignore[attr-defined]
    assert [(r["model"], r["input_tokens"]) for r in results] == [("ft:all-MiniLM-L6-v2:o:s:1", 300), ("other", 300)]
    assert results[0]["api_key_id"] == used.owner.key_row.public_id
    assert results[0]["project_id"] == used.owner.project.public_id


def test_minutes_are_read_from_the_events_themselves(used: Cast) -> None:
    page = get(used, f"usage/classify?start_time={START + 3600}&end_time={START + 3660}&bucket_width=1m")
    assert page["data"][0]["results"][0]["input_tokens"] == 100  # type: ignore[index]


def test_tokens_from_the_cache_are_told_and_cost_as_the_others_do(cast: Cast) -> None:
    owner = cast.owner
    plain = call(owner.tenant.id, 1, cost=2_000, at=DAY, project_id=owner.project.id, key_id=None, kind="chat")
    cached = msgspec.structs.replace(plain, event_id=new_id(), request_id="req_2", cached_tokens=plain.input_tokens - 1)
    line = msgspec.json.decode(encode(plain))
    del line["cached_tokens"]  # as a gateway of the version before wrote it
    assert decode(msgspec.json.encode(line)) == plain
    store_events([plain, cached])
    usage_rollup(tenant_id=owner.tenant.id)
    for width in ("1d", "1m"):
        page = get(cast, f"usage/completions?start_time={START}&end_time={START + 60}&bucket_width={width}")
        assert isinstance(page["data"], list)
        (found,) = page["data"][0]["results"]
        assert found["input_cached_tokens"] == plain.input_tokens - 1, width
        assert found["input_tokens"] == 2 * plain.input_tokens and found["x_cost_usd"] == 4e-6


def test_pages_follow_each_other_without_gap_or_overlap(used: Cast) -> None:
    path = f"usage/classify?start_time={START}&end_time={START + 5 * 86400}&limit=2"
    starts, token = [], ""
    while True:
        page = get(used, path + (f"&page={token}" if token else ""))
        starts += [bucket["start_time"] for bucket in page["data"]]  # type: ignore[attr-defined]
        if not page["has_more"]:
            break
        token = str(page["next_page"])
    assert starts == [START + n * 86400 for n in range(5)]


def test_costs_are_exact_by_day_and_line_item(used: Cast) -> None:
    page = get(used, f"costs?start_time={START}&end_time={START + 2 * 86400}&group_by[]=line_item")
    results = [r for bucket in page["data"] for r in bucket["results"]]  # type: ignore[attr-defined]
    assert {(r["line_item"], r["x_amount_nano"]) for r in results} == {
        ("classify, ft:all-MiniLM-L6-v2:o:s:1", 6_000),
        ("classify, other", 6_000),
        ("embeddings, ft:all-MiniLM-L6-v2:o:s:1", 500),
    }
    assert results[0]["amount"]["currency"] == "usd"
    assert isinstance(results[0]["amount"]["value"], float)


def test_a_filter_by_project_or_key_narrows(used: Cast) -> None:
    base = f"usage/classify?start_time={START}&end_time={START + 86400}"
    own = get(used, f"{base}&project_ids[]={used.owner.project.public_id}")
    foreign = get(used, f"{base}&project_ids={used.stranger.project.public_id}")
    assert own["data"][0]["results"]  # type: ignore[index]
    assert foreign["data"][0]["results"] == []  # type: ignore[index]


def test_a_stranger_sees_none_of_it(used: Cast) -> None:
    response = used.stranger.api.get(f"/v1/organization/costs?start_time={START}&end_time={START + 86400}")
    assert [bucket["results"] for bucket in json.loads(response.content)["data"]] == [[]]


@pytest.mark.parametrize(
    "query",
    [
        "start_time=NaN",
        "start_time=-1",
        "start_time=1e9",
        "start_time=99999999999999999999",
        f"start_time={START}&end_time={START}",
        "bucket_width=1w",
        "limit=0",
        "limit=32",
        "limit=x",
        "group_by=password",
        "page=page_zz",
        "page=x",
        "page=page_-1",
        f"start_time={START}&end_time={START + 86400}&page=page_{START + 1:x}",
        "models=%00",
    ],
)
def test_nonsense_is_a_clear_400(cast: Cast, query: str) -> None:
    response = cast.owner.api.get(f"/v1/organization/usage/classify?{query}")
    assert response.status_code == 400, response.content
    error = json.loads(response.content)["error"]
    assert set(error) == {"message", "type", "param", "code"}


def test_an_unknown_kind_is_not_found(cast: Cast) -> None:
    assert cast.owner.api.get("/v1/organization/usage/telepathy").status_code == 404


def test_kinds_nobody_sells_here_are_empty(cast: Cast) -> None:
    page = get(cast, f"usage/moderations?start_time={int(now().timestamp()) - 86400}")
    assert all(bucket["results"] == [] for bucket in page["data"])  # type: ignore[attr-defined]


def test_a_key_without_the_scope_is_refused(cast: Cast) -> None:
    from tenants.scope import tenant_scope

    with tenant_scope(cast.owner.tenant.id):
        cast.owner.key_row.scopes = ["inference"]
        cast.owner.key_row.save()
    assert cast.owner.api.get("/v1/organization/costs").status_code == 403


def test_a_key_is_told_every_limit_its_calls_are_checked_against(cast: Cast) -> None:
    owner = cast.owner
    with tenant_scope(owner.tenant.id):
        project_limits_set(project=owner.project, limits={"requests_per_minute": 30, "monthly_spend_nano": 10**9})
        spend_limit_set(monthly_nano=3 * 10**9 // 2)
    store_events([call(owner.tenant.id, 1, cost=2_000, at=now(), project_id=owner.project.id)])
    page = get(cast, "limits")
    found = {(one["scope"], one["kind"]): one for one in page["data"]}  # type: ignore[attr-defined]
    assert found["organization", "requests_per_minute"]["limit"] == 60
    assert found["project", "requests_per_minute"]["limit"] == 30
    assert ("api_key", "requests_per_minute") not in found
    spend = found["organization", "monthly_spend"]
    assert (spend["limit_usd"], spend["x_limit_nano"], spend["x_used_nano"]) == (1.5, 1_500_000_000, 2_000)
    assert found["project", "monthly_spend"]["x_limit_nano"] == 10**9
    assert page["x_plan"] == {"code": "free", "version": 2}


def test_cached_tokens_of_several_kinds_are_added_up(used: Cast) -> None:
    owner = used.owner
    made = [
        call(owner.tenant.id, 10 + number, cost=2_000, at=DAY, kind=kind, project_id=owner.project.id)
        for number, kind in enumerate(("chat", "completions"))
    ]
    store_events([msgspec.structs.replace(one, cached_tokens=30) for one in made])
    usage_rollup(tenant_id=owner.tenant.id)
    page = get(used, f"usage/completions?start_time={START}&end_time={START + 86400}&group_by=batch")
    data = page["data"]
    assert isinstance(data, list)
    (found,) = data[0]["results"]
    assert (found["num_model_requests"], found["input_cached_tokens"]) == (2, 60)
