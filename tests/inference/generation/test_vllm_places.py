"""Whose text the server gets next, and what it is asked for: without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from inference.errors import Overloaded
from inference.generation.turns import Limits
from inference.generation.vllm import segments
from inference.generation.vllm.places import Places
from inference.wire import Grammar, Sampling


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_tenant_with_one_text_passes_a_flood_at_the_next_free_place() -> None:
    async def work() -> list[str]:
        places, order = Places(Limits(rows=2)), []

        async def one(tenant: str) -> None:
            places.admit(tenant, 1)
            await places.take(tenant)
            places.began(tenant)
            order.append(tenant)
            await asyncio.sleep(0.01)
            places.received(tenant, read=10, written=100, weight=1)
            places.give(tenant)

        flood = [asyncio.create_task(one("flood")) for _ in range(20)]
        await _settle()
        await asyncio.gather(one("small"), *flood)
        assert (places.running, places.waiting) == (0, 0)
        return order

    order = asyncio.run(work())
    assert order.index("small") == 2 and len(order) == 21


def test_twice_the_weight_is_let_in_twice_as_often() -> None:
    async def work() -> list[str]:
        places, order = Places(Limits(rows=1)), []

        async def one(tenant: str, weight: int) -> None:
            places.admit(tenant, 1)
            await places.take(tenant)
            places.began(tenant)
            order.append(tenant)
            await asyncio.sleep(0)
            places.received(tenant, read=0, written=50, weight=weight)
            places.give(tenant)

        await asyncio.gather(*(one(tenant, weight) for _ in range(12) for tenant, weight in (("a", 1), ("b", 2))))
        return order[:12]

    order = asyncio.run(work())
    assert 7 <= order.count("b") <= 9


def test_a_queue_is_bounded_and_who_leaves_it_leaves_nothing_behind() -> None:
    async def work() -> None:
        places = Places(Limits(rows=1, waiting_per_tenant=3, waiting=5))
        await places.take("holder")
        places.admit("a", 3)
        with pytest.raises(Overloaded):
            places.admit("a", 1)
        places.admit("b", 2)
        with pytest.raises(Overloaded):
            places.admit("c", 1)
        assert (places.waiting, places.refused) == (5, 2)
        waiting = [asyncio.create_task(places.take("a")) for _ in range(3)]
        await _settle()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for tenant in "aaabb":
            places.began(tenant)
        places.give("holder")
        assert (places.running, places.waiting) == (0, 0)
        await asyncio.wait_for(places.take("late"), 1)

    asyncio.run(work())


def test_a_place_that_was_given_to_who_left_in_the_same_moment_is_given_on() -> None:
    async def work() -> None:
        places = Places(Limits(rows=1))
        await places.take("holder")
        task = asyncio.create_task(places.take("leaver"))
        await _settle()
        places.give("holder")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert places.running == 0

    asyncio.run(work())


def _body(sampling: Sampling, written: list[int], **more: Any) -> dict[str, Any]:
    return segments.body(
        sampling, [5, 6], written, tokens=4, choice=0, ends=(1, 2), **({"mask": None, "vocabulary": 9} | more)
    )


def test_a_later_segment_begins_with_what_was_written_and_counts_it() -> None:
    sampling = Sampling(20, frequency_penalty=0.5, presence_penalty=1.0, bias={7: 2.0, 3: 1.0})
    asked = _body(sampling, [7, 8, 7])
    assert asked["prompt"] == [5, 6, 7, 8, 7] and asked["max_tokens"] == 4
    assert asked["logit_bias"] == {"7": 2.0 - 2 * 0.5 - 1.0, "3": 1.0, "8": -1.5}
    assert asked["stop_token_ids"] == [1, 2, 7, 8], "it ends where the server would count a presence twice"
    assert _body(Sampling(20), [7, 8, 7])["stop_token_ids"] == [1, 2]


def test_a_grammar_in_a_later_segment_forbids_all_else_whatever_the_bias() -> None:
    asked = _body(Sampling(20, grammar=Grammar("regex", "a+"), bias={3: 1.0, 4: 2.0}), [7], mask=_Only([3, 8]))
    assert asked["allowed_token_ids"] == [3, 8] and asked["logit_bias"] == {"3": 1.0}


class _Only:
    """A grammar that allows these tokens."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def allowed(self, vocabulary: int) -> Any:
        return np.isin(np.arange(vocabulary), self.tokens)


def test_a_seed_is_another_at_each_place_and_choice_but_the_same_again() -> None:
    seeds = {segments.seed_at(seed, choice, place) for seed in (1, 2) for choice in (0, 1) for place in (0, 32)}
    assert len(seeds) == 8 and all(0 <= seed < 2**63 for seed in seeds)
    assert _body(Sampling(20, seed=1), [])["seed"] == segments.seed_at(1, 0, 0)
    assert "seed" not in _body(Sampling(20), [])


@pytest.mark.parametrize(
    ("sampling", "written", "longest"),
    [
        (Sampling(1000), 0, segments.QUANTUM),
        (Sampling(1000), 990, 10),
        (Sampling(1000, seed=1), 0, segments.CUT),
        (Sampling(1000, seed=1), 40, 24),
        (Sampling(1000, seed=1, temperature=0.0), 40, segments.QUANTUM),
        (Sampling(1000, grammar=Grammar("json")), 0, 1000),
        (Sampling(1000, grammar=Grammar("json")), 40, 1),
    ],
)
def test_a_segment_is_as_long_as_its_kind_allows(sampling: Sampling, written: int, longest: int) -> None:
    assert segments.longest(sampling, written) == longest


def test_a_schema_goes_over_with_the_spaces_that_are_checked_here() -> None:
    asked = _body(Sampling(20, grammar=Grammar("json_schema", '{"type": "string"}')), [])
    assert '"whitespace_flexible": false' in asked["structured_outputs"]["json"]
    assert _body(Sampling(20, grammar=Grammar("regex", "a+")), [])["structured_outputs"] == {"regex": "a+"}
