"""Whatever dies between an engine's answer and the ledger: every answered call is charged once, and nothing else is."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.borders import BORDERS
from tests.chaos.conftest import SEED
from tests.chaos.doors import BROKEN, FULL, LEFT, Doors, wrong
from tests.chaos.installation import Installation
from tests.chaos.proxy import NONE, Fault

pytestmark = pytest.mark.chaos
CUT = {"written"}
PASSES = dict.fromkeys(("reserved", "computed", "written in half", "written", "settled", "answered"), 10)
PASSES |= dict.fromkeys(("file to be removed", "block debited", "block granted", "block noted"), 0)
"""How often a border is passed before the gateway dies at it."""
SECONDS = 4.0
FEW = 2
"""Calls that are answered on any machine, whatever else it does."""


@pytest.fixture(scope="module")
def _doors(engines_to_hurt: Installation) -> Iterator[Doors]:
    made = Doors(engines_to_hurt, SEED)
    try:
        yield made
    finally:
        made.leave()


@pytest.fixture
def doors(_doors: Doors, request: pytest.FixtureRequest) -> Iterator[Doors]:
    """Everything runs; afterwards it is healed, and every bill is held against the rules."""
    _doors.dice.seed(f"{SEED} {request.node.name}")
    _doors.open()
    yield _doors
    _doors.settle_up()
    assert wrong(_doors) == []


def ends(doors: Doors) -> Counter[str]:
    """How many calls of all customers ended in each way."""
    return Counter(call.what for one in doors.customers for call in one.calls)


def test_without_a_fault_every_call_is_charged_once_and_a_limit_is_reached(doors: Doors) -> None:
    poor = doors.customers[1]
    for _ in range(6):
        doors.calling(SECONDS)
        if any(call.status == 402 for call in poor.calls):
            break
    else:
        raise AssertionError("the limit was never reached, so it could not be overshot")
    assert ends(doors)[FULL] > FEW and ends(doors)[LEFT]


@pytest.mark.parametrize(
    "border", [pytest.param(name, marks=[pytest.mark.cut] if name in CUT else []) for name in BORDERS]
)
def test_a_gateway_that_dies_between_two_steps(doors: Doors, border: str) -> None:
    victim = doors.gateways[0]
    victim.kill()
    victim.open(dies=border, at=PASSES.get(border, 1))

    def restart() -> None:
        deadline = time.monotonic() + 60
        while victim.runs:
            assert time.monotonic() < deadline, f"{border!r} was never passed"
            if border == "file to be removed":  # one that a dead gateway left, of events that are shipped already
                live = max(victim.spool.glob("usage-*.wal"))
                shutil.copyfile(live, live.with_name(f"usage-0-{time.monotonic_ns()}.wal"))
            time.sleep(0.1)
        victim.open()

    doors.calling(SECONDS, harm=restart)
    assert victim.runs and ends(doors)[FULL] > FEW


@pytest.mark.cut
def test_an_engine_that_is_killed_again_and_again(doors: Doors) -> None:
    def harm() -> None:
        for _ in range(3):
            time.sleep(1.0)
            doors.engine.kill()
            time.sleep(0.3)
            doors.engine.open()

    doors.calling(SECONDS + 4, harm=harm)
    assert ends(doors)[FULL] > FEW


@pytest.mark.parametrize("how", ["frozen", "restarted", "emptied", "killed and emptied"])
def test_a_quota_server_that_fails(doors: Doors, how: str) -> None:
    engines = doors.engines

    def harm() -> None:
        for _ in range(2):
            time.sleep(1.0)
            if how == "frozen":
                pid = engines.redis_pid
                os.kill(pid, signal.SIGSTOP)
                time.sleep(1.2)
                os.kill(pid, signal.SIGCONT)
            elif how == "emptied":
                engines.broker().flushall()
            else:
                engines.redis_kill(forget=how != "restarted")
                time.sleep(0.3)
                engines.redis_start()

    doors.calling(SECONDS + 3, harm=harm)
    assert ends(doors)[FULL] > FEW


def test_lines_to_the_quota_server_that_break_in_the_middle_of_answers(doors: Doors) -> None:
    def harm() -> None:
        for gateway in doors.gateways * 2:
            gateway.redis.fault = Fault(cut_after=3000)
            time.sleep(0.5)
            gateway.redis.fault = Fault(hang=True)
            time.sleep(0.7)
            gateway.redis.fault = NONE
            gateway.redis.cut()
            time.sleep(0.3)

    doors.calling(SECONDS + 3, harm=harm)
    assert ends(doors)[FULL] > FEW


@pytest.mark.parametrize("how", ["stopped", "deaf", "sessions ended"])
def test_a_database_that_fails(doors: Doors, how: str) -> None:
    def harm() -> None:
        for gateway in doors.gateways if how == "deaf" else ():
            gateway.postgres.fault = Fault(lose_commits=0.5)
        for _ in range(2):
            time.sleep(1.0)
            if how == "stopped":
                doors.engines.postgres_stop()
                time.sleep(0.5)
                doors.engines.postgres_start()
            elif how == "sessions ended":
                doors.engines.sessions_end(most=3)
        for gateway in doors.gateways:
            gateway.postgres.fault = NONE

    doors.calling(SECONDS + 2, harm=harm)
    lost = sum(gateway.postgres.commits_lost for gateway in doors.gateways)
    assert ends(doors)[FULL] > FEW and (lost or how != "deaf")


def test_a_gateway_that_is_asked_to_leave_answers_what_it_began(doors: Doors) -> None:
    victim = doors.gateways[0]

    def leave() -> None:
        time.sleep(1.5)
        victim.signal(signal.SIGTERM)
        victim.wait(60)
        victim.open()

    doors.calling(SECONDS, harm=leave)
    assert ends(doors)[FULL] > FEW and not ends(doors)[BROKEN]


def test_a_gateway_that_is_frozen_past_its_reservations_lives(doors: Doors) -> None:
    victim = doors.gateways[0]

    def harm() -> None:
        time.sleep(1.0)
        victim.signal(signal.SIGSTOP)
        time.sleep(4.0)
        victim.signal(signal.SIGCONT)

    doors.calling(SECONDS + 3, harm=harm)
    assert ends(doors)[FULL] > FEW


def test_everything_at_once(doors: Doors) -> None:
    def harm() -> None:
        deeds: list[Any] = [
            lambda: doors.engines.broker().flushall(),
            lambda: (doors.engine.kill(), doors.engine.open()),
            lambda: (doors.gateways[0].kill(), doors.gateways[0].open()),
            lambda: (doors.gateways[1].kill(), doors.gateways[1].open()),
            lambda: (doors.engines.postgres_stop(), doors.engines.postgres_start()),
            lambda: (doors.engines.redis_kill(), doors.engines.redis_start()),
        ]
        doors.dice.shuffle(deeds)
        for deed in deeds:
            time.sleep(doors.dice.uniform(0.2, 0.8))
            deed()

    doors.calling(SECONDS * 3, harm=harm)
    assert ends(doors)[FULL] > FEW
