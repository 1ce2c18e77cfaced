"""How many engines a dedicated deployment has: never outside its bounds, up and down only in time, none when idle."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.autoscale import Policy, Scale, Seen, decide
from serving.pools import changes

policies = st.builds(
    lambda least, more, idle, target, up, down: Policy(least, max(least + more, 1), idle, target, up, down),
    st.integers(0, 4), st.integers(0, 6), st.floats(60, 900), st.integers(1, 16), st.floats(0, 60), st.floats(0, 600),
)  # fmt: skip
days = st.lists(st.tuples(st.floats(0.5, 120), st.integers(0, 200)), min_size=1, max_size=60)


def lived(policy: Policy, day: list[tuple[float, int]]) -> list[tuple[Seen, Scale]]:
    """What is decided as time goes by: after so many seconds, so many calls are under way."""
    scale, at, idle, told = Scale(), 0.0, float("inf"), []
    for seconds, load in day:
        at += seconds
        idle = 0.0 if load else idle + seconds
        seen = Seen(at, load, idle)
        scale = decide(policy, scale, seen)
        told.append((seen, scale))
    return told


@given(policies, days)
def test_it_stays_within_its_bounds_and_never_leaves_a_call_without_an_engine(policy, day):
    for seen, scale in lived(policy, day):
        assert policy.least <= scale.wanted <= policy.most
        assert scale.wanted or not seen.load
        assert not (scale.above_since is not None and scale.below_since is not None)


@given(policies, days)
def test_it_goes_down_one_at_a_time_unless_nobody_calls_and_up_only_after_the_delay(policy, day):
    told = lived(policy, day)
    for index in range(1, len(told)):
        (before, earlier), (seen, scale) = told[index - 1], told[index]
        if scale.wanted < earlier.wanted:
            assert scale.wanted == earlier.wanted - 1 or (seen.load == 0 and seen.idle_s >= policy.idle_s)
        if scale.wanted > max(earlier.wanted, 1) and earlier.wanted:
            over = [one for one, _ in told[:index] if one.at <= seen.at - policy.up_s] if policy.up_s else [before]
            assert over, "there was no time for it"
            assert seen.load > earlier.wanted * policy.target


@given(policies, st.integers(0, 200))
def test_the_same_calls_for_long_lead_to_as_many_as_they_need(policy, load):
    scale = lived(policy, [(60.0, load)] * 400)[-1][1]
    need = min(max(-(-load // policy.target), policy.least), policy.most)
    assert scale.wanted == need


def test_it_wakes_at_once_and_sleeps_after_a_while():
    policy = Policy(least=0, most=2, idle_s=300)
    assert decide(policy, Scale(0), Seen(0, 1, 0)).wanted == 1
    assert decide(policy, Scale(1), Seen(100, 0, 299)).wanted == 1
    assert decide(policy, Scale(2), Seen(100, 0, 300)).wanted == 0
    assert decide(Policy(least=1, most=2), Scale(2), Seen(0, 0, 10_000)).wanted == 1
    with pytest.raises(ValueError, match="least <= most"):
        Policy(least=3, most=2)


names = st.sampled_from(["dep_1", "dep_2", "dep_3", "warm"])


@given(st.dictionaries(names, st.integers(0, 4)), st.lists(names, max_size=10), st.lists(names, max_size=3))
def test_doing_what_is_asked_for_brings_what_is_wanted_and_nothing_after_that(wanted, pools, coming):
    there = [(f"n{number}", f"a{number}", pool) for number, pool in enumerate(pools)]
    asked = changes(wanted, there, Counter(coming))
    joined = dict(asked.join)
    left = [(n, a, joined.get(a, pool)) for n, a, pool in there if n not in asked.stop]
    arrived = [(f"m{number}", f"b{number}", pool) for number, pool in enumerate([*coming, *asked.start])]
    again = changes(wanted, left + arrived, Counter())
    assert not again.start and not again.join
    counts = Counter(pool for _, _, pool in left + arrived)
    assert all(counts[pool] >= number for pool, number in wanted.items())
    assert {pool for pool, number in (Counter(wanted) - counts).items() if number > 0} == set()


def test_an_engine_that_waits_warm_is_taken_first_and_another_takes_its_place():
    there = [("w", "unix:/w", "warm"), ("s", "unix:/s", "dep_0")]
    asked = changes({"dep_1": 1, "warm": 1}, there, Counter())
    assert asked.join == [("unix:/w", "dep_1")] and asked.start == ["warm"] and asked.stop == ["s"]
