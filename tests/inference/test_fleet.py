"""Which engine is asked: by what it has, by what it has to do, and another one where nothing was computed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from inference.announcement import SHARED, Heartbeat, digest, opened, signed
from inference.errors import Draining, Internal, Late, NotReady, Overloaded, Unauthorised, Unavailable, Unreachable
from inference.fleet import FAILURES, SPREAD_AT, STALL_S, WORKS_S, Fleet, Want, home

TOKEN = "a token for tests"


class Line:
    """A client whose engine is a word in a test."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self.in_flight, self.heard, self.connected, self.well = address, 0, 0, True, True
        self.batches, self.works = 0, False

    async def health(self, *, timeout: float) -> SimpleNamespace:
        if not self.well:
            raise Unreachable("nobody")
        self.heard += 1
        self.batches += self.works
        return SimpleNamespace(batches=self.batches)

    async def close(self) -> None: ...


def beat(name: str, **facts: Any) -> Heartbeat:
    return Heartbeat(name=name, address=f"unix:/{name}", at=time.time(), **{"bases": ["base"], **facts})


def fleet_of(*beats: Heartbeat) -> tuple[Fleet, Counter[str]]:
    events: Counter[str] = Counter()
    fleet = Fleet(
        "unix:///static", TOKEN, on_event=lambda event: events.update([event]), connect=Line,  # type: ignore[arg-type]
    )  # fmt: skip
    if beats:
        fleet.heard(beats)
    return fleet, events


def asked(fleet: Fleet, want: Want, fails: dict[str, Exception] | None = None) -> list[str]:
    """The engines that one call was asked of, in turn."""
    tried: list[str] = []

    async def call(line: Any) -> None:
        tried.append(line.address.removeprefix("unix:").strip("/"))
        if fails and tried[-1] in fails:
            raise fails[tried[-1]]

    try:
        asyncio.run(fleet.ask(want, call))
    except tuple({type(error) for error in (fails or {}).values()}):
        tried.append("failed")
    return tried


def line(fleet: Fleet, name: str) -> Any:
    return fleet.replicas[f"unix:/{name}"].client


# -- heartbeats ------------------------------------------------------------------------------------------------------


def test_a_heartbeat_counts_only_with_the_token_that_both_sides_share():
    said = beat("a", residents=["x"])
    assert opened(signed(said, TOKEN), TOKEN) == said
    assert opened(signed(said, "another"), TOKEN) is None
    assert opened(signed(said, ""), "") is None  # no token, no announcement
    forged = signed(said, TOKEN).replace(b"unix:/a", b"unix:/b")
    assert opened(forged, TOKEN) is None
    assert opened(b"nonsense", TOKEN) is None and opened(b"", TOKEN) is None


def test_an_old_heartbeat_cannot_be_shown_again():
    said = beat("a")
    assert opened(signed(said, TOKEN), TOKEN, now=said.at + 100) is not None
    assert opened(signed(said, TOKEN), TOKEN, now=said.at + 1000) is None


def test_a_heartbeat_of_a_later_version_is_read_as_far_as_it_is_understood():
    class Later(Heartbeat, frozen=True):
        colour: str = "blue"

    said = msgspec.convert(msgspec.to_builtins(beat("a")) | {"colour": "red"}, Later)
    read = opened(signed(said, TOKEN), TOKEN)
    assert read is not None and read.name == "a"


# -- who is asked ----------------------------------------------------------------------------------------------------


def test_the_configured_engine_is_asked_as_long_as_none_announces_itself():
    fleet, _ = fleet_of()
    assert asked(fleet, Want("base")) == ["static"]
    fleet.heard([beat("a")])
    assert asked(fleet, Want("base")) == ["a"]
    fleet.heard([beat("a", pool="warm")])  # serves nobody yet
    assert asked(fleet, Want("base")) == ["static"]


def test_an_engine_with_the_model_in_memory_is_asked_first():
    model = digest("t", "m")
    fleet, _ = fleet_of(beat("a"), beat("b", residents=[model]), beat("c"))
    assert {*(asked(fleet, Want("base", "t", "m"))[0] for _ in range(20))} == {"b"}


def test_a_model_that_nobody_has_goes_to_the_same_home_from_every_process():
    for model in ("m1", "m2", "m3", "m4"):
        homes = {asked(fleet_of(beat("a"), beat("b"), beat("c"))[0], Want("base", "t", model))[0] for _ in range(10)}
        assert len(homes) == 1


def test_few_models_change_their_home_when_an_engine_comes():
    models = [f"m{number}" for number in range(1000)]
    before = {model: home(["a", "b", "c"], model)[0] for model in models}
    after = {model: home(["a", "b", "c", "d"], model)[0] for model in models}
    moved = [model for model in models if before[model] != after[model]]
    assert 150 < len(moved) < 350 and {after[model] for model in moved} == {"d"}
    assert all(200 < count < 470 for count in Counter(before.values()).values())


def test_only_engines_with_the_base_are_asked():
    fleet, _ = fleet_of(beat("a", bases=["other"]), beat("b"), beat("c", bases=["other"]))
    assert {asked(fleet, Want("base"))[0] for _ in range(10)} == {"b"}
    with pytest.raises(Unavailable, match="No engine with the base 'third'"):
        asked(fleet, Want("third"))


def test_the_less_busy_of_two_is_asked():
    fleet, _ = fleet_of(beat("a", load=9), beat("b"))
    assert {asked(fleet, Want("base"))[0] for _ in range(10)} == {"b"}
    line(fleet, "b").in_flight = 30  # our own calls count before the engine tells of them
    assert {asked(fleet, Want("base"))[0] for _ in range(10)} == {"a"}


def test_a_hot_model_spreads_to_an_idle_engine_and_a_cool_one_does_not():
    model, want = digest("t", "m"), Want("base", "t", "m")
    fleet, events = fleet_of(beat("a", residents=[model]), beat("b"), beat("c", load=SPREAD_AT))
    line(fleet, "a").in_flight = SPREAD_AT - 1
    assert asked(fleet, want) == ["a"]
    line(fleet, "a").in_flight = 3 * SPREAD_AT
    assert {asked(fleet, want)[0] for _ in range(20)} <= {"b", "c"}
    assert events["spread"] >= 1 and fleet.replicas["unix:/b"].holds == {model}


def test_a_dedicated_deployments_calls_go_to_its_own_engines_and_nobody_elses_do():
    fleet, _ = fleet_of(beat("a"), beat("own", pool="dep_1"), beat("b"))
    assert {asked(fleet, Want("base", "t", "m", "dep_1"))[0] for _ in range(10)} == {"own"}
    assert {asked(fleet, Want("base", "t", f"m{n}"))[0] for n in range(30)} == {"a", "b"}
    with pytest.raises(Unavailable, match="of this deployment's own"):
        asked(fleet, Want("base", "t", "m", "dep_2"))


# -- asking another one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unreachable("x"), Draining("x"), Unauthorised("x")])
def test_another_engine_is_asked_where_nothing_was_computed(error):
    fleet, events = fleet_of(beat("a", load=1), beat("b", load=2))
    assert asked(fleet, Want("base"), {"a": error}) == ["a", "b"]
    assert events["retried"] == events["ejected"] == 1
    assert asked(fleet, Want("base"), {"a": error}) == ["b"]  # who failed so is not asked again


def test_a_base_that_is_not_ready_is_asked_of_another_engine_and_is_no_fault_of_the_first():
    fleet, events = fleet_of(beat("a", load=1), beat("b", load=2))
    for _ in range(2 * FAILURES):
        assert asked(fleet, Want("base"), {"a": NotReady("starting")}) == ["a", "b"]
    assert events == {"retried": 2 * FAILURES}
    assert asked(fleet, Want("base")) == ["a"]


@pytest.mark.parametrize("error", [Unavailable("cut off"), Internal("x")])
def test_no_other_engine_is_asked_where_something_may_have_been_computed(error):
    fleet, events = fleet_of(beat("a", load=1), beat("b", load=2))
    assert asked(fleet, Want("base"), {"a": error}) == ["a", "failed"]
    assert not events


def test_an_overloaded_engines_call_goes_to_one_with_less_to_do_and_to_no_other():
    model, want = digest("t", "m"), Want("base", "t", "m")
    fleet, _ = fleet_of(beat("a", load=9, residents=[model]), beat("b", load=1))
    assert asked(fleet, want, {"a": Overloaded("full")}) == ["a", "b"]
    fleet, _ = fleet_of(beat("a", load=9, residents=[model]), beat("b", load=9))
    assert asked(fleet, want, {"a": Overloaded("full")}) == ["a", "failed"]


def test_only_one_other_engine_is_asked():
    fleet, _ = fleet_of(beat("a"), beat("b"), beat("c"))
    tried = asked(fleet, Want("base"), {name: Unreachable("x") for name in "abc"})
    assert len(tried) == 3 and tried[-1] == "failed"


def test_an_engine_that_fails_again_and_again_is_set_aside_and_asked_for_its_health_until_it_answers():
    async def work() -> None:
        fleet, events = fleet_of(beat("a", load=1), beat("b", load=2))
        watching = asyncio.create_task(fleet.watch())
        tried: list[str] = []

        async def call(one: Any) -> None:
            tried.append(one.address[-1])
            if one.address.endswith("a"):
                raise Internal("broken")

        line(fleet, "a").well = False
        for _ in range(FAILURES):
            with pytest.raises(Internal):
                await fleet.ask(Want("base"), call)
        await fleet.ask(Want("base"), call)
        assert tried == ["a"] * FAILURES + ["b"] and events["ejected"] == 1
        await asyncio.sleep(1.0)
        assert fleet.replicas["unix:/a"].aside_until  # asked, and not well
        line(fleet, "a").well = True
        async with asyncio.timeout(5):
            while fleet.replicas["unix:/a"].aside_until:
                await asyncio.sleep(0.02)
        assert events == {"ejected": 1, "readmitted": 1}
        watching.cancel()

    asyncio.run(work())


def test_an_engine_that_says_nothing_while_calls_wait_is_set_aside():
    async def work() -> None:
        fleet, events = fleet_of(beat("a"), beat("b"))
        watching = asyncio.create_task(fleet.watch())
        for name in "ab":
            line(fleet, name).in_flight = 1
        line(fleet, "a").well = False
        async with asyncio.timeout(5):
            while not fleet.replicas["unix:/a"].aside_until:
                line(fleet, "b").heard += 1
                await asyncio.sleep(0.05)
        assert events == {"ejected": 1} and not fleet.replicas["unix:/b"].aside_until
        watching.cancel()

    asyncio.run(work())


@pytest.mark.parametrize("works", [True, False])
def test_calls_that_end_too_late_speak_against_an_engine_only_where_it_does_not_get_on(works):
    async def work() -> None:
        fleet, events = fleet_of(beat("a", load=1), beat("b", load=2))
        one = line(fleet, "a")
        one.works, one.in_flight = works, 1  # one large call: nothing is answered meanwhile
        fleet.replicas["unix:/a"].worked = time.monotonic() - 2 * WORKS_S
        fleet.replicas["unix:/a"].heard = 0, time.monotonic() - STALL_S
        watching = asyncio.create_task(fleet.watch())
        async with asyncio.timeout(5):
            while not one.heard:  # it was asked whether it is there, and it is
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        watching.cancel()

        async def late(_: Any) -> None:
            raise Late("30 s are over")

        one.in_flight = 0
        for _ in range(FAILURES):
            with pytest.raises(Late):
                await fleet.ask(Want("base"), late)
        assert events == ({} if works else {"ejected": 1})

    asyncio.run(work())


# -- who is there ----------------------------------------------------------------------------------------------------


def test_a_silent_engine_is_used_while_its_connection_holds_if_there_is_no_other():
    fleet, _ = fleet_of(beat("a"), beat("b"))
    fleet.heard([beat("b")])
    assert {asked(fleet, Want("base"))[0] for _ in range(10)} == {"b"}
    fleet.heard([])  # an emptied Redis: nobody is heard of, and all are there
    assert {asked(fleet, Want("base"))[0] for _ in range(20)} == {"a", "b"}
    line(fleet, "a").connected = False
    fleet.heard([])
    assert {asked(fleet, Want("base"))[0] for _ in range(10)} == {"b"}


def test_of_two_processes_at_one_address_the_later_one_is_believed():
    old = beat("a", draining=True)
    new = Heartbeat(name="a2", address="unix:/a", at=old.at + 1, bases=["base"])
    fleet, _ = fleet_of(old, new, beat("b", load=5))
    assert asked(fleet, Want("base")) == ["a"]


def test_an_engine_that_leaves_is_not_asked():
    fleet, _ = fleet_of(beat("a", draining=True), beat("b", load=50), beat("c", load=50))
    assert {asked(fleet, Want("base"))[0] for _ in range(10)} <= {"b", "c"}


def test_a_call_waits_for_an_engine_that_is_being_started_and_for_no_longer_than_it_said():
    async def work() -> None:
        fleet, _ = fleet_of(beat("a"))
        want = Want("base", "t", "m", "dep_1")
        started = time.monotonic()
        assert not await fleet.until_present(want, 0.1) and time.monotonic() - started < 1
        waiting = asyncio.create_task(fleet.until_present(want, 5))
        await asyncio.sleep(0.05)
        fleet.heard([beat("a"), beat("own", pool="dep_1")])
        assert await waiting and fleet.present(Want("base", pool=SHARED))

    asyncio.run(work())
