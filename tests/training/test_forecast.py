"""What waiting jobs are told: their position, how long, and why; from the rule of turns played forward."""

import itertools
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kit.clock import now
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.training.making import allow, body, empty_queue, queued, read
from training.models import Job, Slot
from training.scheduling.picture import Head, Picture, Place, Share
from training.scheduling.playing import play
from training.selectors import queue
from training.selectors.queue import USUAL, _play, _Queue
from training.services.claiming import claim, slots_keep
from training.services.leases import Lease

HOST = "test-host"
A_BUSY_MACHINE = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def _an_empty_queue() -> None:
    """No job of another test waits, and one host has four places."""
    empty_queue()
    slots_keep(host=HOST, count=4, kind="cpu-fp32", gpu_class="cpu")


def take() -> Lease | None:
    """A claim by a worker of the test's host."""
    return claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")


@A_BUSY_MACHINE
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 4))
def test_positions_are_a_permutation_and_waits_grow(owners: list[int], places: int) -> None:
    tenants = [uuid.UUID(int=number) for number in range(5)]
    values = {
        "lane": "standard",
        "width": 1,
        "priority": 0,
        "likely_seconds": 60.0,
        "progress": 0.0,
        "not_before": None,
        "avoids": frozenset(),
    }
    moment = now()
    rows: list[dict[str, Any]] = [
        values | {"pk": uuid.uuid4(), "tenant_id": tenants[owner], "since": moment, "not_before": None}
        for number, owner in enumerate(owners)
    ]
    shares = {tenant: Share(tenant, most=9) for tenant in tenants}
    picture = Picture(shares=shares, places=[Place(number, "host") for number in range(places)])
    played = _Queue(picture, rows, USUAL)
    _play(played)
    found = played.found
    assert sorted(place.position for place in found.values()) == list(range(1, len(rows) + 1))
    in_order = sorted(found.values(), key=lambda place: place.position)
    assert [place.seconds for place in in_order] == sorted(place.seconds for place in in_order)


def test_jobs_beyond_the_plans_parallel_jobs_wait_for_each_other_and_one_more_at_once_shortens_that(
    cast: Cast,
) -> None:
    allow(cast.owner, jobs=1)
    jobs = [queued(cast.owner) for _ in range(5)]
    light = queued(cast.stranger)
    with tenant_scope(
        cast.owner.tenant.id
    ):  # seconds that count, whatever runs have taken lately against their estimates
        Job.objects.update(likely_seconds=600)
    queue._cache = None
    standings = [read(cast.owner, job)["x_queue"] for job in jobs]
    waits = [one["seconds"]["p50"] for one in standings]
    assert waits[0] == 0 and all(before < after for before, after in itertools.pairwise(waits)), waits
    assert [one["reason"] for one in standings] == ["resources", *["tenant_limit"] * 4]
    beside = read(cast.stranger, light)["x_queue"]
    assert (beside["seconds"]["p50"], beside["reason"]) == (0, "resources"), "three places are free for others"
    estimate = cast.owner.api.post("/v1/fine_tuning/jobs/estimate", body(cast.owner)).json()
    assert estimate["queue_seconds"] >= waits[-1]
    found = queue.explain(jobs[-1])
    assert found is not None
    starts = {one.change: one.seconds for one in found.what_if}
    assert starts["as_is"] == starts["one_more_place"] == waits[-1]
    assert starts["one_more_parallel_job"] < waits[-1], starts


def test_while_one_thread_looks_at_the_queue_the_others_show_what_it_was(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(cast.owner)
    queue._cache = None
    seen = queue.positions()
    real, looking, shown, count = queue._read, threading.Event(), threading.Event(), itertools.count()

    def slow() -> _Queue:
        next(count)
        looking.set()
        assert shown.wait(20)
        return real()

    monkeypatch.setattr(queue, "_read", slow)
    kept = queue._cache
    assert kept is not None
    later = kept[0] + 1
    monkeypatch.setattr(queue.time, "monotonic", lambda: later)
    queued(cast.stranger)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(queue.positions)
        assert looking.wait(20)
        assert threads.submit(queue.positions).result(20) == seen
        shown.set()
        assert len(first.result(20)) == 2
    assert next(count) == 1


def test_while_no_worker_is_up_nobody_says_how_long_it_takes(cast: Cast) -> None:
    jobs = [queued(cast.owner) for _ in range(2)]
    Slot.objects.all().delete()
    queue._cache = None
    shown = [read(cast.owner, job) for job in jobs]
    assert {one["x_queue"]["position"] for one in shown} == {1, 2}
    assert {one["x_queue"]["reason"] for one in shown} == {"no_workers"}
    assert all(one["x_queue"]["seconds"] == {"p50": None, "p90": None} for one in shown)
    assert all(one["estimated_finish"] is None and one["x_eta_seconds"] is None for one in shown)
    assert cast.owner.api.post("/v1/fine_tuning/jobs/estimate", body(cast.owner)).json()["queue_seconds"] is None
    page = cast.owner.browser.get(f"{cast.owner.workspace}/jobs/{jobs[0].public_id}/")
    assert "no worker is up" in page.content.decode()


owners_and_limits = st.lists(st.integers(0, 4), min_size=1, max_size=40), st.lists(st.integers(1, 3), min_size=5)


@A_BUSY_MACHINE
@given(*owners_and_limits, st.integers(1, 4))
def test_a_play_keeps_every_tenant_within_its_limit_and_no_place_idle_for_nothing(
    owners: list[int], limits: list[int], count: int
) -> None:
    picture = Picture(
        shares={tenant: Share(tenant, most=limits[tenant]) for tenant in range(5)},
        places=[Place(number, "host") for number in range(count)],
    )
    lines = [[Head((tenant, n), tenant, 60.0, n) for n in range(owners.count(tenant))] for tenant in set(owners)]
    played = play(picture, lines)
    assert len(played) == len(owners)
    spans = [(one.head.tenant, one.start, (one.start or 0.0) + 60.0) for one in played]
    for moment in {start for _, start, _ in spans}:
        running = [tenant for tenant, start, end in spans if start <= moment < end]
        assert len(running) <= count
        assert all(running.count(tenant) <= limits[tenant] for tenant in set(running))
        later = {tenant for tenant, start, _ in spans if start > moment}
        assert len(running) == count or all(running.count(tenant) == limits[tenant] for tenant in later)
