"""Deciding, without a model: fairness, batches, bounds, cancelling."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import Overloaded, TooLarge
from inference.scheduler import LIGHT, Limits, Request, Scheduler, length_class


class FakeModel:
    """Computes nothing; remembers what it was given."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.batches: list[list[tuple[str, int]]] = []

    def run(self, batches: int = 1_000_000) -> Counter[str]:
        """Compute up to so many batches; returns rows by tenant."""
        while batches and (batch := self.scheduler.next_batch()):
            self.batches.append([(row.request.tenant, row.cost) for row in batch])
            batches -= 1
        return Counter(tenant for batch in self.batches for tenant, _ in batch)


def request(
    tenant: str, rows: int = 1, cost: int = 10, weight: int = 1, group: str = "base", base: str = "base"
) -> Request:
    return Request(tenant=tenant, group=group, costs=[cost] * rows, weight=weight, base=base)


def test_a_batch_takes_what_waits_from_every_tenant():
    scheduler = Scheduler()
    for tenant in "abc":
        scheduler.submit(request(tenant, rows=2))
    FakeModel(scheduler).run(1)
    assert scheduler.rows == 0


def test_a_flood_from_one_tenant_does_not_delay_another():
    scheduler = Scheduler(Limits(batch_rows=8))
    scheduler.submit(request("flood", rows=1000))
    model = FakeModel(scheduler)
    model.run(3)
    scheduler.submit(request("quiet"))
    model.run(1)
    assert ("quiet", 10) in model.batches[-1]


def test_two_busy_tenants_share_by_weight():
    scheduler = Scheduler(Limits(batch_rows=8))
    scheduler.submit(request("light", rows=2000, weight=1))
    scheduler.submit(request("heavy", rows=2000, weight=3))
    rows = FakeModel(scheduler).run(100)
    assert rows["heavy"] / rows["light"] == pytest.approx(3, rel=0.05)


def test_long_texts_count_more_than_short_ones():
    scheduler = Scheduler(Limits(batch_rows=4))
    scheduler.submit(request("long", rows=2000, cost=100))
    scheduler.submit(request("short", rows=2000, cost=10))
    rows = FakeModel(scheduler).run(200)
    assert rows["short"] / rows["long"] == pytest.approx(10, rel=0.1)


def test_silence_saves_nothing_up():
    scheduler = Scheduler(Limits(batch_rows=8))
    scheduler.submit(request("steady", rows=4000))
    model = FakeModel(scheduler)
    model.run(100)
    model.batches.clear()
    scheduler.submit(request("newcomer", rows=1000))
    rows = model.run(20)
    assert abs(rows["steady"] - rows["newcomer"]) <= 8


def test_a_batch_holds_one_encoder_and_at_most_two_neighbouring_length_classes():
    scheduler = Scheduler()
    for group in ("base", "own"):
        for cost in (5, 16, 17, 100):
            scheduler.submit(request("t", cost=cost, group=group))
    seen = []
    while batch := scheduler.next_batch():
        assert len({row.request.group for row in batch}) == 1
        classes = {length_class(row.cost) for row in batch}
        assert max(classes) <= 2 * min(classes)
        seen += batch
    assert len(seen) == 8


def test_a_batch_that_is_large_enough_takes_no_shorter_rows():
    scheduler = Scheduler()
    scheduler.submit(request("t", rows=20, cost=30))
    scheduler.submit(request("t", rows=20, cost=10))
    assert {row.cost for row in scheduler.next_batch()} == {30}


def test_a_small_batch_is_filled_with_rows_one_class_shorter():
    scheduler = Scheduler()
    scheduler.submit(request("t", rows=2, cost=30))
    scheduler.submit(request("u", rows=20, cost=10))
    costs = [row.cost for row in scheduler.next_batch()]
    assert sorted(costs) == [10] * 14 + [30] * 2


def test_a_batch_is_bounded_in_rows_and_in_tokens():
    scheduler = Scheduler(Limits(batch_rows=16, batch_tokens=1024))
    scheduler.submit(request("t", rows=40, cost=10))
    scheduler.submit(request("u", rows=40, cost=256))
    while batch := scheduler.next_batch():
        assert len(batch) <= (16 if batch[0].cost == 10 else 4)


def test_the_door_refuses_a_tenant_whose_queue_is_full_and_nobody_else():
    scheduler = Scheduler(Limits(rows_per_tenant=10))
    scheduler.submit(request("full", rows=10))
    with pytest.raises(Overloaded, match="of your texts") as refused:
        scheduler.submit(request("full"))
    assert refused.value.retry_after >= 1
    scheduler.submit(request("other"))
    assert scheduler.refused == 1


def test_the_door_refuses_whoever_would_wait_too_long_in_fair_turns():
    scheduler = Scheduler(Limits(wait_s=2))
    scheduler.speed = 100.0
    scheduler.submit(request("flood", rows=30, cost=10))
    with pytest.raises(Overloaded, match="busy"):
        scheduler.submit(request("flood"))
    with pytest.raises(Overloaded, match="busy"):
        scheduler.submit(request("second", rows=30, cost=10))
    scheduler.submit(request("little", rows=2, cost=10))
    FakeModel(scheduler).run()
    scheduler.submit(request("second", rows=30, cost=10))


def computed(scheduler: Scheduler, seconds: float, now: float) -> None:
    """Sixteen full batches of a large request, each in so long; the rest of it is given up."""
    large = request("t", rows=2000, cost=16)
    scheduler.submit(large, now)
    for _ in range(16):
        batch = scheduler.next_batch(now)
        scheduler.finish(batch, now)
        scheduler.measured(batch, seconds, now)
    scheduler.cancel(large)


def test_the_door_refuses_what_could_not_be_computed_while_anybody_waits_for_it():
    scheduler = Scheduler(Limits(longest_s=10), lanes=2)
    computed(scheduler, seconds=1.0, now=0.0)  # 64 texts of 16 tokens a second and lane
    scheduler.submit(request("t", rows=1000, cost=16), now=1.0)  # 7.8 s
    with pytest.raises(TooLarge, match=r"about 31 seconds .* one may take 10\. .* into 4 requests") as refused:
        scheduler.submit(request("u", rows=4000, cost=16), now=1.0)
    assert "POST /v1/batches" in refused.value.message and refused.value.retry_after is None
    scheduler.speed = 0.0  # that is about what waits before it
    scheduler.submit(request("u", rows=4000, cost=16, group="other", base="other"), now=1.0)  # not known to be slow
    assert scheduler.refused == 1


def test_an_old_measurement_and_small_batches_close_the_door_to_nobody():
    scheduler = Scheduler(Limits(longest_s=10))
    computed(scheduler, seconds=10.0, now=0.0)
    for _ in range(100):
        little = request("t", rows=1, cost=500)
        scheduler.submit(little, now=100.0)
        batch = scheduler.next_batch(100.0)
        scheduler.finish(batch, 100.0)
        scheduler.measured(batch, 10.0, 100.0)
    scheduler.speed = 0.0  # that is about what waits before it
    scheduler.submit(request("t", rows=4000, cost=16), now=100.0)
    assert (scheduler.refused, scheduler.rows) == (0, 4000)


def test_a_full_engine_still_takes_what_is_within_a_tenants_share_of_it():
    scheduler = Scheduler(Limits(rows=100))
    scheduler.submit(request("flood", rows=90))
    with pytest.raises(Overloaded, match="busy"):
        scheduler.submit(request("flood", rows=20))
    with pytest.raises(Overloaded, match="busy"):
        scheduler.submit(request("greedy", rows=60))
    scheduler.submit(request("modest", rows=20))


def test_a_tenant_with_little_waiting_shares_no_batch_with_a_flood():
    scheduler = Scheduler()
    scheduler.submit(request("flood", rows=1000))
    scheduler.submit(request("quiet"))
    scheduler.submit(request("calm"))
    model = FakeModel(scheduler)
    model.run(2)
    assert sorted(model.batches[0]) == [("calm", 10), ("quiet", 10)]
    assert {tenant for tenant, _ in model.batches[1]} == {"flood"}


def test_the_last_lane_is_kept_for_whoever_was_here_a_moment_ago():
    scheduler = Scheduler(Limits(keep_s=1), lanes=2)
    scheduler.submit(request("quiet"), now=0)
    scheduler.finish(scheduler.next_batch(0), now=0)
    scheduler.submit(request("flood", rows=1000), now=0)
    first = scheduler.next_batch(0)
    assert {row.request.tenant for row in first} == {"flood"}
    assert scheduler.next_batch(0.5) == []
    scheduler.submit(request("quiet"), now=0.5)
    second = scheduler.next_batch(0.5)
    assert [row.request.tenant for row in second] == ["quiet"]
    scheduler.finish(first, now=0.6)
    assert {row.request.tenant for row in scheduler.next_batch(0.6)} == {"flood"}
    scheduler.finish(second, now=0.7)
    assert scheduler.next_batch(0.8) == []
    assert scheduler.next_batch(1.9), "a lane that nobody comes back for is open to all"


def test_a_tenant_alone_takes_every_lane_and_shares_its_rows_among_them():
    scheduler = Scheduler(lanes=2)
    scheduler.submit(request("only", rows=60))
    assert [len(scheduler.next_batch(0)), len(scheduler.next_batch(0))] == [30, 30]


def test_two_floods_keep_both_lanes_and_each_gets_one():
    scheduler = Scheduler(Limits(batch_rows=8), lanes=2)
    for tenant in "ab":
        scheduler.submit(request(tenant, rows=100), now=0)
    one, two = scheduler.next_batch(0), scheduler.next_batch(0)
    scheduler.finish(one, now=0)
    three = scheduler.next_batch(0)
    assert one
    assert two
    assert three


def test_a_batch_is_short_while_several_tenants_are_about_and_full_afterwards():
    scheduler = Scheduler(Limits(shared_s=0.1, about_s=30))
    scheduler.speed = 10_000.0
    scheduler.submit(request("quiet"), now=0)
    scheduler.submit(request("flood", rows=1000, cost=100), now=0)
    assert scheduler.next_batch(0)[0].request.tenant == "quiet"
    assert sum(row.cost for row in scheduler.next_batch(1)) == 1000  # 0.1 s of 10,000 tokens a second
    scheduler.speed = 100.0
    assert sum(row.cost for row in scheduler.next_batch(1)) == 500, "never below what counts as little"
    assert sum(row.cost for row in scheduler.next_batch(100)) == 6400


def test_a_refused_request_leaves_no_row_behind():
    scheduler = Scheduler(Limits(rows=10))
    scheduler.submit(request("a", rows=8))
    with pytest.raises(Overloaded):
        scheduler.submit(request("b", rows=8))
    assert FakeModel(scheduler).run() == {"a": 8}


def test_cancelled_rows_are_skipped_and_cost_the_tenant_nothing():
    scheduler = Scheduler(Limits(batch_rows=4))
    gone, stays = request("a", rows=100), request("a", rows=2)
    scheduler.submit(gone)
    scheduler.submit(stays)
    scheduler.cancel(gone)
    assert scheduler.rows == 2
    model = FakeModel(scheduler)
    assert model.run() == {"a": 2}
    assert len(model.batches) == 1
    assert scheduler.rows == scheduler.cost == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(1, 5), st.integers(1, 600), st.integers(1, 4), st.booleans()),
        max_size=60,
    ),
    st.integers(1, 16),
)
def test_every_row_is_computed_exactly_once_unless_cancelled(requests, batch_rows):
    scheduler = Scheduler(Limits(batch_rows=batch_rows, batch_tokens=2048))
    made = []
    for tenant, rows, cost, weight, cancelled in requests:
        made.append(request(tenant, rows, cost, weight))
        scheduler.submit(made[-1])
        if cancelled:
            scheduler.cancel(made[-1])
    computed = Counter()
    while batch := scheduler.next_batch():
        assert 0 < len(batch) <= batch_rows
        computed.update((id(row.request), row.index) for row in batch)
    expected = {(id(r), i) for r in made if not r.cancelled for i in range(len(r.costs))}
    assert set(computed) == expected
    assert set(computed.values()) <= {1}
    assert scheduler.rows == scheduler.cost == scheduler.tenants == 0


def background(tenant: str, rows: int) -> Request:
    return Request(tenant=f"{tenant}/background", group="base", costs=[10] * rows, background=True)


def test_what_may_wait_is_computed_only_while_nothing_else_waits():
    scheduler = Scheduler(Limits(batch_rows=8))
    scheduler.submit(background("a", 500))
    model = FakeModel(scheduler)
    model.run(3)
    for tenant in ("a", "b"):  # calls of its own tenant and of another one
        scheduler.submit(request(tenant, rows=40))
    model.batches.clear()
    assert set(model.run(10)) == {"a", "b"}
    assert "a/background" in model.run(1), "and then it goes on"


def test_what_may_wait_takes_small_batches_and_leaves_a_lane_for_who_was_here_a_moment_ago():
    scheduler = Scheduler(Limits(batch_rows=64), lanes=2)
    scheduler.submit(background("a", 500))
    first = scheduler.next_batch(now=0.0)
    assert sum(row.cost for row in first) <= LIGHT, "nobody who comes now waits long"
    scheduler.submit(request("b"), now=0.1)
    served = scheduler.next_batch(now=0.1)
    assert {row.request.tenant for row in served} == {"b"}
    scheduler.finish(served, now=0.2)
    assert not scheduler.next_batch(now=0.3), "the last lane is kept for b"
    assert scheduler.next_batch(now=5.0), "who stays away keeps no lane"


def test_a_batch_gives_a_newcomer_no_head_start_over_those_present():
    scheduler = Scheduler(Limits(batch_rows=8))
    scheduler.submit(background("a", 500))
    scheduler.submit(request("steady", rows=2000))
    model = FakeModel(scheduler)
    model.run(50)
    model.batches.clear()
    scheduler.submit(request("newcomer", rows=500))
    rows = model.run(20)
    assert abs(rows["steady"] - rows["newcomer"]) <= 8
