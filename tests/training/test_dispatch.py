"""What may start, who makes room, and why a job waits: the rules by themselves, case by case."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.scheduling.dispatch import (
    MIN_RUN_SECONDS,
    MOST_PREEMPTIONS,
    Start,
    in_turn,
    next_start,
    preemptions,
    why,
)
from training.scheduling.fairness import AGEING_SECONDS, LANES, PREEMPTIBLE, PRIORITY
from training.scheduling.picture import Head, Picture, Place, Run, Share
from training.scheduling.playing import play

HOUR = 3600.0
ADA, BOB, EVE = 1, 2, 3


def world(
    shares: list[Share], heads: list[Head], *, runs: dict[int, list[tuple[int, Run]]] | None = None, free: int = 0
) -> Picture:
    """One host: `runs` of each tenant as (places, run), and free places."""
    picture = Picture(shares={share.tenant: share for share in shares}, heads=heads)
    for held in (runs or {}).values():
        for width, run in held:
            picture.runs[run.job] = run
            share = picture.shares[run.tenant]
            share.running += width
            share.firm += width * (run.lane != PREEMPTIBLE)
            for _ in range(width):
                picture.places.append(Place(len(picture.places), "host", job=run.job))
    for _ in range(free):
        picture.places.append(Place(len(picture.places), "host"))
    return picture


def running(job: int, tenant: int, *, width: int = 1, **values: Any) -> tuple[int, Run]:
    return width, Run(job, tenant, **{"ran": HOUR, "left": HOUR} | values)


def started(picture: Picture) -> Any:
    start = next_start(picture, "host")
    return None if start is None else start.head.job


def test_a_job_within_its_guarantee_goes_before_one_who_has_had_less() -> None:
    shares = [Share(ADA, guaranteed=1, most=4, used_ms=9e9), Share(BOB, most=4)]
    heads = [Head(10, ADA, HOUR, since=5), Head(20, BOB, HOUR, since=1)]
    assert started(world(shares, heads, free=1)) == 10
    beyond = world(shares, heads, runs={ADA: [running(1, ADA)]}, free=1)
    assert started(beyond) == 20, "beyond the guarantee, machine time decides"


def test_the_least_filled_guarantee_goes_first() -> None:
    shares = [Share(ADA, guaranteed=4, most=8), Share(BOB, guaranteed=2, most=8)]
    heads = [Head(10, ADA, HOUR, since=5), Head(20, BOB, HOUR, since=1)]
    runs = {ADA: [running(1, ADA)], BOB: [running(2, BOB)]}
    assert started(world(shares, heads, runs=runs, free=1)) == 10, "a quarter of one is less than half of the other"


def test_an_urgent_job_goes_before_everybody() -> None:
    shares = [Share(ADA, guaranteed=1, most=4), Share(BOB, most=4, used_ms=9e9)]
    heads = [Head(10, ADA, HOUR), Head(20, BOB, HOUR, since=9, urgent=True)]
    assert started(world(shares, heads, free=1)) == 20


def test_the_preemptible_lane_and_weight_0_run_on_what_is_left() -> None:
    shares = [Share(ADA, most=4), Share(BOB, most=4, weight=0), Share(EVE, most=4, used_ms=9e9)]
    heads = [Head(10, ADA, HOUR, lane=PREEMPTIBLE), Head(20, BOB, HOUR), Head(30, EVE, HOUR)]
    picture = world(shares, heads, free=1)
    assert started(picture) == 30
    picture.heads = heads[:2]
    assert started(picture) in (10, 20), "and they do run when nobody else wants the place"


def test_paid_priority_counts_twice_the_weight() -> None:
    shares = [Share(ADA, most=4, used_ms=15e6), Share(BOB, most=4, used_ms=10e6)]
    heads = [Head(10, ADA, HOUR, lane=PRIORITY), Head(20, BOB, HOUR)]
    assert started(world(shares, heads, free=1)) == 10


def test_waiting_takes_machine_time_off_up_to_a_cap() -> None:
    shares = [Share(ADA, most=4, used_ms=2e6), Share(BOB, most=4, used_ms=1e6)]
    heads = [Head(10, ADA, HOUR, waited=1500.0), Head(20, BOB, HOUR, waited=0.0)]
    assert started(world(shares, heads, free=1)) == 10
    shares[0].used_ms = 1e6 + 1000 * AGEING_SECONDS + 1
    heads[0].waited = 1e9
    assert started(world(shares, heads, free=1)) == 20, "a long wait does not make up for any use"
    shares[0].used_ms, shares[0].started_ago = 2e6, 10.0
    assert started(world(shares, heads, free=1)) == 20, "waiting counts from the tenant's last start"


def test_a_tenant_at_its_limit_waits_and_the_next_one_starts() -> None:
    shares = [Share(ADA, most=1), Share(BOB, most=1, used_ms=9e9)]
    picture = world(shares, [Head(10, ADA, HOUR), Head(20, BOB, HOUR)], runs={ADA: [running(1, ADA)]}, free=1)
    assert started(picture) == 20
    assert [head.job for head in in_turn(picture)] == [20]
    assert why(picture, picture.heads[0], position=2) == "tenant_limit"


def test_a_place_above_the_plans_class_or_kept_for_another_is_not_used() -> None:
    picture = world([Share(ADA, most=4, rank=1)], [Head(10, ADA, HOUR)], free=3)
    picture.places[0].rank, picture.places[1].kept_for, picture.places[2].rank = 2, BOB, 1
    start = next_start(picture, "host")
    assert start is not None and [place.key for place in start.places] == [2]
    picture.places[0].kept_for = picture.places[1].kept_for = ADA
    start = next_start(picture, "host")
    assert start is not None and [place.key for place in start.places] == [1], "one kept for it is taken first"


def test_a_gang_gets_all_of_its_places_or_none() -> None:
    picture = world([Share(ADA, most=4)], [Head(10, ADA, HOUR, width=3)], free=2)
    assert started(picture) is None
    picture.places.append(Place(9, "elsewhere"))
    assert started(picture) is None, "three places on two hosts are not three places"
    assert why(picture, picture.heads[0], position=1) == "no_place"
    picture.places.append(Place(10, "host"))
    start = next_start(picture, "host")
    assert start is not None and len(start.places) == 3


def test_others_start_before_a_waiting_gang_only_if_they_are_gone_in_time() -> None:
    shares = [Share(ADA, most=4), Share(BOB, most=4, used_ms=1e9), Share(EVE, most=4)]
    gang, short = Head(10, ADA, HOUR, width=2), Head(20, BOB, 0.8 * HOUR)
    runs = {EVE: [running(1, EVE, left=HOUR)]}
    assert started(world(shares, [gang, short], runs=runs, free=1)) == 20
    shares[2].running = shares[2].firm = 0
    assert started(world(shares, [gang, replace(short, seconds=0.9 * HOUR)], runs=runs, free=1)) is None, "1.08 hours"


def test_a_guaranteed_job_gets_a_borrowed_place_back_from_who_has_had_most_and_the_youngest_first() -> None:
    shares = [Share(ADA, guaranteed=1, most=4), Share(BOB, most=4, used_ms=5e6), Share(EVE, most=4, used_ms=9e6)]
    runs = {
        BOB: [running(1, BOB, ran=700.0)],
        EVE: [running(2, EVE, ran=9000.0), running(3, EVE, ran=800.0)],
    }
    (asked,) = preemptions(world(shares, [Head(10, ADA, HOUR)], runs=runs))
    assert (asked.run.job, asked.tenant) == (3, ADA)


def test_a_job_kept_from_a_host_gets_room_on_another_and_its_forecast_says_so() -> None:
    shares = [Share(ADA, guaranteed=1, most=4), Share(BOB, most=4)]
    kept, behind = Head(10, ADA, HOUR, avoids=frozenset({"bad-host"})), Head(20, BOB, HOUR, since=1)
    picture = world(shares, [kept, behind], runs={BOB: [running(1, BOB, left=600.0)]})
    picture.places.append(Place(9, "bad-host"))
    assert next_start(picture, "bad-host") == Start(behind, (picture.places[-1],))
    (asked,) = preemptions(picture)
    assert (asked.run.job, asked.tenant) == (1, ADA)
    starts = {one.head.job: one.start for one in play(picture, [[kept], [behind]])}
    assert starts == {10: 600.0, 20: 0.0}
    picture.places = picture.places[-1:]
    assert why(picture, kept, position=1) == "no_place"


@pytest.mark.parametrize(
    "changes",
    [
        {"ran": MIN_RUN_SECONDS - 1},
        {"preemptions": MOST_PREEMPTIONS},
        {"leaving": True},
        {"tenant": ADA},
    ],
    ids=str,
)
def test_a_run_is_left_alone(changes: dict[str, Any]) -> None:
    shares = [Share(ADA, guaranteed=2, most=4), Share(BOB, most=4)]
    tenant = changes.pop("tenant", BOB)
    assert preemptions(world(shares, [Head(10, ADA, HOUR)], runs={BOB: [running(1, tenant, **changes)]})) == []


def test_nobody_falls_below_the_own_guarantee_and_nobody_gets_room_beyond_it() -> None:
    shares = [Share(ADA, guaranteed=2, most=8), Share(BOB, guaranteed=2, most=8)]
    runs = {BOB: [running(1, BOB), running(2, BOB), running(3, BOB)]}
    heads = [Head(10, ADA, HOUR), Head(11, ADA, HOUR, since=1), Head(12, ADA, HOUR, since=2)]
    asked = preemptions(world(shares, heads, runs=runs))
    assert len(asked) == 1, "one of Bob's three is borrowed"
    runs = {BOB: [running(number, BOB) for number in range(8)]}
    shares = [Share(ADA, guaranteed=2, most=8), Share(BOB, guaranteed=2, most=8)]
    assert len(preemptions(world(shares, heads, runs=runs))) == 2, "Ada's third job is beyond hers"


def test_what_is_free_or_being_vacated_is_not_asked_for_again() -> None:
    shares = [Share(ADA, guaranteed=2, most=8), Share(BOB, most=8)]
    picture = world(shares, [Head(10, ADA, HOUR)], runs={BOB: [running(1, BOB), running(2, BOB)]}, free=1)
    assert preemptions(picture) == []
    picture.places.pop()
    (asked,) = preemptions(picture)
    asked.run.leaving = True
    for place in asked.places:
        place.kept_for = ADA
    assert preemptions(picture) == []


def test_any_standard_job_may_ask_the_preemptible_lane_and_that_lane_asks_nobody() -> None:
    shares = [Share(ADA, most=4), Share(BOB, most=4)]
    picture = world(shares, [Head(10, ADA, HOUR)], runs={BOB: [running(1, BOB, lane=PREEMPTIBLE), running(2, BOB)]})
    assert [asked.run.job for asked in preemptions(picture)] == [1]
    picture.heads = [Head(10, ADA, HOUR, lane=PREEMPTIBLE)]
    assert preemptions(picture) == []


def test_a_gang_gets_room_on_one_host_or_nobody_is_asked() -> None:
    shares = [Share(ADA, guaranteed=2, most=4), Share(BOB, most=8)]
    picture = world(shares, [Head(10, ADA, HOUR, width=2)], runs={BOB: [running(1, BOB), running(2, BOB)]})
    picture.places[1].host = "elsewhere"
    assert preemptions(picture) == []
    picture.places[1].host = "host"
    assert len(preemptions(picture)) == 2


def test_a_small_job_leaves_the_places_that_a_gang_of_its_tenant_was_promised() -> None:
    shares = [Share(ADA, most=4), Share(BOB, most=8), Share(EVE, most=4)]
    heads = [Head(9, EVE, 1.0), Head(10, ADA, 1.0, since=1), Head(11, ADA, 1.0, since=2, width=2)]
    lent = [running(number, BOB, lane=PREEMPTIBLE) for number in (1, 2, 3)]
    picture = world(shares, heads, runs={BOB: lent}, free=2)
    for number in (2, 4):  # one that is lent and one that is free stand on another host
        picture.places[number].host = "elsewhere"
    asked = preemptions(picture)
    assert sorted(one.run.job for one in asked) == [1, 2]
    for one in asked:
        one.run.leaving = True
        for place in one.places:
            place.kept_for = ADA
    assert preemptions(picture) == []


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Any moment: hosts, runs and waiting jobs of a few tenants, within their limits."""
    shares = {}
    for tenant in range(4):
        guaranteed, most, weight = draw(st.integers(0, 4)), draw(st.integers(1, 8)), draw(st.integers(0, 8))
        shares[tenant] = Share(tenant, guaranteed, most, weight, used_ms=draw(st.floats(0, 1e9)))
    picture = Picture(shares=shares)
    for key in range(draw(st.integers(1, 10))):
        picture.places.append(Place(key, key // 4))
    for job, place in enumerate(picture.places):
        tenant = draw(st.integers(-1, 3))
        if tenant >= 0 and shares[tenant].running < shares[tenant].most:
            run = Run(job, tenant, draw(st.sampled_from(LANES)), draw(st.sampled_from((1.0, 5000.0))), 100.0)
            picture.runs[job], place.job = run, job
            shares[tenant].running += 1
            shares[tenant].firm += run.lane != PREEMPTIBLE
    for job in range(100, 100 + draw(st.integers(0, 8))):
        lane, width = draw(st.sampled_from(LANES)), draw(st.integers(1, 3))
        picture.heads.append(Head(job, draw(st.integers(0, 3)), draw(st.floats(1, 1e5)), job, 0.0, lane, width))
    return picture


@given(pictures())
def test_making_room_never_takes_a_guarantee_nor_breaks_one_and_settles(picture: Picture) -> None:
    """I7: what the guarantees lack, summed over all tenants, only gets less, and asking again asks nobody."""
    before = {tenant: share.firm for tenant, share in picture.shares.items()}
    asked = preemptions(picture)
    for one in asked:
        share = picture.shares[one.run.tenant]
        assert not one.run.leaving and one.run.tenant != one.tenant
        one.run.leaving = True
        for place in one.places:
            place.kept_for = one.tenant
        if one.run.lane != PREEMPTIBLE:
            before[one.run.tenant] -= len(one.places)
            assert before[one.run.tenant] >= share.guaranteed, "who gives way keeps what it is guaranteed"
    assert preemptions(picture) == [], "the same need is not met twice"


@given(pictures())
def test_a_start_respects_every_limit_and_nothing_that_fits_is_left_beside_a_free_place(picture: Picture) -> None:
    for host in {place.host for place in picture.places}:
        start = next_start(picture, host)
        if start is not None:
            share = picture.shares[start.head.tenant]
            assert share.running + start.head.width <= share.most
            assert len(start.places) == start.head.width
            assert all(place.job is None and place.host == host for place in start.places)
        elif not any(head.width > 1 for head in picture.heads):
            free = [place for place in picture.places if place.host == host and place.job is None]
            assert not any(picture.within_limit(head) and picture.usable(head, free) for head in picture.heads)
