"""Who is read and who writes next."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inference.errors import Overloaded, TooLarge
from inference.generation.paging import BLOCK, Blocks
from inference.generation.steps import Request, Sequence, Step
from inference.generation.turns import SHARE, Limits, Turns


def asked(
    turns: Turns, tenant: str, prompt: int, most: int = 8, *, adapter: str | None = None, choices: int = 1,
    allowed: int = 10_000, weight: int = 1, start: int = 0, background: bool = False,
) -> Request:  # fmt: skip
    request = Request(
        tenant, f"{tenant}/{adapter}", adapter, allowed, lanes=8 if adapter else 0, weight=weight, background=background
    )
    tokens = list(range(start, start + prompt))
    request.sequences = [Sequence(request, choice, list(tokens), prompt, most) for choice in range(choices)]
    turns.submit(request)
    return request


def run(turns: Turns, step: Step) -> None:
    """Compute a step: whoever may gets a token, whoever has all of them ends."""
    turns.computed(step)
    for part in step.parts:
        if part.ends and not part.sequence.finish:
            turns.write(part.sequence, 1)
            if part.sequence.written >= part.sequence.most:
                turns.end(part.sequence, "length")


def drained(turns: Turns, most: int = 10_000) -> list[Step]:
    steps: list[Step] = []
    while (step := turns.next_step()) is not None:
        run(turns, step)
        steps.append(step)
        assert len(steps) < most
    return steps


def test_reading_and_writing_take_turns_so_that_a_long_prompt_stops_nobody() -> None:
    turns = Turns(Blocks(200), Limits(step_tokens=32))
    asked(turns, "a", 8, most=40)
    for _ in range(3):
        step = turns.next_step()
        assert step is not None
        run(turns, step)
    asked(turns, "b", 32 * 6)
    kinds = [step.writing for step in drained(turns)][:10]
    assert kinds == [False, True] * 5 or kinds == [True, False] * 5


def test_adapters_of_all_tenants_are_read_and_write_in_one_step() -> None:
    turns = Turns(Blocks(200))
    for tenant in "abcd":
        asked(turns, tenant, 10, most=50, adapter=tenant)
    steps = drained(turns)
    assert [len(step.parts) for step in steps[:2]] == [4, 4] and not steps[0].writing and steps[1].writing


def tokens_of(turns: Turns, request: Request, steps: int) -> int:
    """What a request writes within so many steps."""
    before = request.used
    for _ in range(steps):
        step = turns.next_step()
        assert step is not None
        run(turns, step)
    return request.used - before


def test_what_may_wait_shares_few_steps_with_others_and_all_when_it_is_alone() -> None:
    turns = Turns(Blocks(400))
    waits = asked(turns, "a/background", 10, most=500, background=True)
    assert tokens_of(turns, waits, 40) >= 39
    call = asked(turns, "a", 10, most=200)
    assert tokens_of(turns, waits, 64) <= 64 // SHARE
    assert call.used >= 60, "as if it were alone"


def test_a_call_takes_the_place_of_what_may_wait_and_never_the_other_way_round() -> None:
    turns = Turns(Blocks(400), Limits(rows=2))
    asked(turns, "a/background", 10, most=100, choices=2, background=True)
    step = turns.next_step()
    assert step is not None
    run(turns, step)
    first, second = asked(turns, "a", 10, most=30), asked(turns, "b", 10, most=30)
    for _ in range(40):
        step = turns.next_step()
        assert step is not None
        run(turns, step)
    assert first.sequences[0].finish == second.sequences[0].finish == "length"
    drained(turns)


def test_what_may_wait_does_not_take_the_place_of_a_call_that_pauses() -> None:
    turns = Turns(Blocks(400), Limits(rows=1))
    call = asked(turns, "a", 10, most=30, allowed=1)
    step = turns.next_step()
    assert step is not None
    run(turns, step)
    assert not call.left, "it waits for an allowance, in the only row"
    waits = asked(turns, "b/background", 10, most=30, background=True)
    assert turns.next_step() is None and not turns.preempted
    call.allowed = 30
    drained(turns)
    assert call.sequences[0].finish == waits.sequences[0].finish == "length" and not turns.preempted


def test_what_may_wait_is_not_held_up_by_a_call_that_waits_for_an_allowance() -> None:
    turns = Turns(Blocks(400))
    asked(turns, "a", 10, most=30, allowed=0)
    waits = asked(turns, "b/background", 10, most=30, background=True)
    drained(turns)
    assert waits.sequences[0].finish == "length"


def test_a_flood_waits_behind_whoever_received_less() -> None:
    turns = Turns(Blocks(400), Limits(rows=4, step_tokens=64))
    for _ in range(40):
        asked(turns, "flood", 60, most=10)
    for _ in range(30):
        step = turns.next_step()
        assert step is not None
        run(turns, step)
    light = asked(turns, "light", 10, most=2)
    steps = 0
    while not light.sequences[0].finish:
        step = turns.next_step()
        assert step is not None
        run(turns, step)
        steps += 1
    assert steps < 30 and turns.waiting > 20, "it did not wait for the flood to end"


def test_weight_is_a_share_of_what_is_read() -> None:
    turns = Turns(Blocks(400), Limits(rows=2, step_tokens=32))
    for _ in range(60):
        asked(turns, "one", 32, most=1)
        asked(turns, "three", 32, most=1, weight=3)
    read = {"one": 0, "three": 0}
    for _ in range(40):
        step = turns.next_step()
        assert step is not None
        for part in step.parts:
            read[part.sequence.request.tenant] += part.end - part.begin
        run(turns, step)
    assert 2.2 < read["three"] / read["one"] < 3.8


def test_no_more_is_written_than_was_allowed_whatever_the_number_of_choices() -> None:
    turns = Turns(Blocks(100))
    request = asked(turns, "a", 10, most=50, choices=3, allowed=7)
    drained(turns)
    assert request.used == 7 and turns.paused()
    request.allowed, request.last = 9, True
    drained(turns)
    assert request.used == 9
    for sequence in turns.paused():
        turns.drop(sequence, "budget")
    assert not turns.running and not turns.waiting and turns.blocks.free == 100


def test_one_that_waits_for_an_allowance_holds_up_nobody() -> None:
    turns = Turns(Blocks(100), Limits(rows=2))
    stuck = asked(turns, "a", 10, most=50, choices=3, allowed=1)
    other = asked(turns, "b", 10, most=5)
    drained(turns)
    assert other.sequences[0].finish == "length" and stuck.used == 1


def test_one_more_of_a_tenant_whose_own_text_waits_for_an_allowance_begins_in_its_place() -> None:
    turns = Turns(Blocks(100), Limits(rows=2))
    stuck = asked(turns, "a", 10, most=50, allowed=1)
    asked(turns, "a", 10, most=400)
    for _ in range(6):
        step = turns.next_step()
        assert step is not None
        run(turns, step)
    third = asked(turns, "a", 10, most=3)
    drained(turns)
    assert third.sequences[0].finish == "length" and stuck.sequences[0].finish == ""


def test_a_paused_text_in_the_queue_holds_up_nobody_behind_it() -> None:
    turns = Turns(Blocks(100), Limits(rows=1))
    asked(turns, "a", 10, most=50, allowed=1)
    second = asked(turns, "a", 10, most=3)
    drained(turns)
    third = asked(turns, "a", 10, most=3)
    drained(turns)
    assert second.sequences[0].finish == third.sequences[0].finish == "length"


def test_nobody_keeps_all_rows_with_long_texts() -> None:
    turns = Turns(Blocks(2000), Limits(rows=8))
    flood = [asked(turns, "flood", 8, most=2000, start=10 * n) for n in range(20)]
    for _ in range(30):
        step = turns.next_step()
        assert step is not None
        run(turns, step)
    light = asked(turns, "light", 8, most=5)
    heavy = asked(turns, "heavy", 8, most=2000, weight=3, choices=9)
    steps = 0
    while not light.sequences[0].finish:
        step = turns.next_step()
        assert step is not None
        run(turns, step)
        steps += 1
    assert steps < 30
    for _ in range(60):
        step = turns.next_step()
        assert step is not None
        run(turns, step)
    rows = [sequence.request.tenant for sequence in turns.running]
    assert rows.count("heavy") == 6 and rows.count("flood") == 2, "by weight, three to one"
    assert all(one.sequences[0].written < 2000 for one in (*flood, heavy))


def test_what_a_step_has_taken_keeps_its_place_while_others_begin() -> None:
    turns = Turns(Blocks(200), Limits(rows=2))
    asked(turns, "a", 20, most=30)
    asked(turns, "a", 20, most=30)
    step = turns.next_step()
    assert step is not None and len(step.parts) == 2
    asked(turns, "b", 20, most=30)
    run(turns, step)
    for step in drained(turns):
        assert all(part.table for part in step.parts)


def test_a_held_sequence_is_in_no_step() -> None:
    turns = Turns(Blocks(100))
    held, free = asked(turns, "a", 5, most=3), asked(turns, "b", 5, most=3)
    held.sequences[0].held = True
    drained(turns)
    assert free.sequences[0].finish == "length" and not held.sequences[0].written
    held.sequences[0].held = False
    drained(turns)
    assert held.sequences[0].finish == "length"


def test_a_full_cache_pauses_whoever_began_last_and_loses_nothing() -> None:
    turns = Turns(Blocks(8), Limits(step_tokens=64))
    requests = [asked(turns, str(number), 20, most=60, start=100 * number) for number in range(3)]
    drained(turns)
    assert turns.preempted > 0
    assert all(request.sequences[0].written == 60 for request in requests)
    assert turns.blocks.free == 8


def test_what_can_never_fit_is_refused_at_the_door() -> None:
    turns = Turns(Blocks(4))
    with pytest.raises(TooLarge):
        asked(turns, "a", 3 * BLOCK, most=2 * BLOCK)


def test_queues_are_bounded_for_each_tenant() -> None:
    turns = Turns(Blocks(100), Limits(waiting_per_tenant=3))
    for _ in range(3):
        asked(turns, "a", 5)
    with pytest.raises(Overloaded):
        asked(turns, "a", 5)
    asked(turns, "b", 5)
    assert turns.refused == 1


def test_a_cancelled_request_gives_everything_back() -> None:
    turns = Turns(Blocks(50), Limits(rows=2))
    gone = asked(turns, "a", 40, choices=4)
    stays = asked(turns, "b", 40, start=500)
    step = turns.next_step()
    assert step is not None
    turns.cancel(gone)
    run(turns, step)
    drained(turns)
    assert gone.used == 0 and stays.sequences[0].finish == "length" and turns.blocks.free == 50


def test_the_adapters_that_run_together_fit_their_lanes() -> None:
    turns = Turns(Blocks(500), Limits(lanes=24))
    for number in range(6):
        asked(turns, str(number), 10, most=20, adapter=str(number))
    for step in drained(turns):
        assert len({part.sequence.request.adapter for part in step.parts}) <= 3


class Any(RuleBasedStateMachine):
    """Whatever comes, in any order: it ends, within its bounds, and all blocks come back."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns(Blocks(10), Limits(rows=3, step_tokens=24, waiting=50, lanes=16))
        self.requests: list[Request] = []

    @rule(
        tenant=st.sampled_from("abc"),
        prompt=st.integers(1, 70),
        most=st.integers(1, 60),
        adapter=st.sampled_from([None, "x", "y", "z"]),
        choices=st.integers(1, 3),
        allowed=st.integers(1, 40),
    )
    def ask(self, tenant: str, prompt: int, most: int, adapter: str | None, choices: int, allowed: int) -> None:
        with contextlib.suppress(Overloaded):
            self.requests.append(
                asked(self.turns, tenant, prompt, most, adapter=adapter, choices=choices, allowed=allowed)
            )

    @rule(steps=st.integers(1, 12))
    def compute(self, steps: int) -> None:
        for _ in range(steps):
            if (step := self.turns.next_step()) is not None:
                assert step.tokens <= 24 or step.writing
                run(self.turns, step)

    @rule(data=st.data(), more=st.integers(1, 60), last=st.booleans())
    def allow(self, data: st.DataObject, more: int, last: bool) -> None:
        if self.requests:
            request = data.draw(st.sampled_from(self.requests))
            request.allowed += more
            request.last = request.last or last

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.requests:
            request = data.draw(st.sampled_from(self.requests))
            self.turns.cancel(request)
            self.requests.remove(request)

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.turns.running) <= 3
        assert all(request.used <= request.allowed for request in self.requests)
        held = {number for sequence in self.turns.running for number in sequence.table}
        assert self.turns.blocks.free == 10 - len(held)

    def teardown(self) -> None:
        for request in self.requests:
            request.allowed = 10_000
        drained(self.turns)
        assert all(s.finish == "length" for request in self.requests for s in request.sequences)
        assert self.turns.blocks.free == 10 and not self.turns.waiting


Any.TestCase.settings = settings(
    max_examples=30, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAny = Any.TestCase
