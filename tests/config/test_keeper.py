"""The supervisor of one machine: an engine that falls silent is not started twice, and one that hangs is replaced."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from config import keeper
from config.keeper import Child, LocalEngines
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
