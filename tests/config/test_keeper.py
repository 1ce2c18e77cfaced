"""The supervisor of one machine: an engine that falls silent is not started twice, and one that hangs is replaced."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from config import keeper
from config.keeper import Child, LocalEngines
from inference.address import Address
from inference.announcement import Heartbeat
from serving import engines, pools

ADDRESS = "unix:/nobody"
BEAT = Heartbeat("one", ADDRESS, 0.0, pool="dep_1")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalEngines]:
    """One child that was heard of, and one wanted engine."""
    made = LocalEngines()
    process = subprocess.Popen(["sleep", "60"])
    made.children[ADDRESS] = Child(process, "dep_1", time.monotonic(), tmp_path / "depot")
    monkeypatch.setattr(pools, "desired", lambda: {"dep_1": 1})
    monkeypatch.setattr(made, "start", lambda pool: pytest.fail(f"another one was started for {pool}"))
    say(monkeypatch, BEAT)
    made.look()
    yield made
    process.kill()
    process.wait()


def say(monkeypatch: pytest.MonkeyPatch, *beats: Heartbeat) -> None:
    monkeypatch.setattr(engines, "announced", lambda: list(beats))


def test_an_emptied_redis_starts_no_engine_again(kept: LocalEngines, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch)
    for _ in range(3):
        kept.look()
    say(monkeypatch, BEAT)
    kept.look()
    child = kept.children[ADDRESS]
    assert child.process.poll() is None and child.silent_since is None


def test_one_that_has_announced_itself_and_hangs_is_killed_and_replaced(
    kept: LocalEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(kept, "start", started.append)
    monkeypatch.setattr(keeper, "HUNG_SECONDS", 0.2)
    say(monkeypatch)
    kept.look()
    time.sleep(0.3)
    kept.look()
    assert kept.children[ADDRESS].process.wait(5) == -9 and not started
    kept.look()
    assert started == ["dep_1"]


def test_while_redis_is_away_nobody_is_taken_to_hang(kept: LocalEngines, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise RedisError("away")

    monkeypatch.setattr(keeper, "HUNG_SECONDS", 0.2)
    say(monkeypatch)
    kept.look()
    monkeypatch.setattr(engines, "announced", away)
    kept.look()
    time.sleep(0.3)
    kept.look()
    say(monkeypatch)
    kept.look()
    assert kept.children[ADDRESS].process.poll() is None


def test_engines_of_this_machine_listen_where_those_who_call_can_reach_them(settings: Any) -> None:
    settings.ENGINE_ADDRESS = "unix:///somewhere/engine.sock"
    assert keeper.engine_address("7") == "unix:/somewhere/engine.sock.7"
    settings.ENGINE_ADDRESS = "tcp://engine:7070"  # another container
    settings.REDIS_URL = "unix:///somewhere/redis.sock"
    assert keeper.engine_address("7") == f"unix:{settings.HOME}/engine.7"
    with socket.create_server(("127.0.0.1", 0)) as redis:
        settings.REDIS_URL = f"redis://127.0.0.1:{redis.getsockname()[1]}/0"
        given = keeper.engine_address("7")
    host, _, port = given.rpartition(":")
    assert host == "127.0.0.1" and str(Address.parse(given)) == given, "as its heartbeat will say it"
    with socket.create_server((host, int(port))):
        pass


def test_while_redis_cannot_be_reached_no_engine_is_started_and_the_keeper_goes_on(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    settings.ENGINE_ADDRESS, settings.REDIS_URL = "tcp://engine:7070", f"redis://127.0.0.1:{port}/0"
    monkeypatch.setattr(pools, "desired", lambda: {"dep_1": 1})
    say(monkeypatch)
    made = LocalEngines()
    made.look()
    assert made.children == {}
