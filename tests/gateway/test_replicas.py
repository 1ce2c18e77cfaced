"""Two engines behind one gateway: one leaves, dies or hangs, Redis is emptied, and what callers see of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.conf import settings
from redis import Redis

from billing.services.entitlements import override_set
from inference.announcement import EVERY_S, NAMES, Heartbeat, digest, key_of, signed
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.gateway.conftest import ROOT, GatewayProcess, free_port, until_answers
from tests.inference.artefacts import BASE
from tests.serving.announced import Announced, announced, engine_announced, until
from tests.serving.made import deployed, trained

pytestmark = pytest.mark.slow  # starts real processes
PATIENCE = 60.0
"""Seconds for what takes one or two on an idle machine."""


@contextlib.contextmanager
def gateway_alone() -> Iterator[GatewayProcess]:
    """A gateway that is told of no engine, so that it knows only those it hears of."""
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "ENGINE_ADDRESS": f"unix://{settings.HOME}/nobody.sock",
        "ENGINE_TOKEN": settings.ENGINE_TOKEN,
    }
    command = [sys.executable, "-m", "uvicorn", "gateway.asgi:application", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning", "--no-access-log"], env=environment, cwd=ROOT)
    try:
        until_answers(f"http://127.0.0.1:{port}/healthz", process)
        yield GatewayProcess(f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@dataclass
class Kept:
    """A gateway and the engines that it has found."""

    door: GatewayProcess
    two: tuple[Announced, Announced]


@dataclass
class Hammer:
    """Calls without a pause from several threads; what came of each. They are short: an engine that starts or leaves
    beside them needs the machine as well."""

    gateway: GatewayProcess
    key: str
    model: str = BASE.name
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[bytes] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def going(self, threads: int = 6) -> Iterator[None]:
        workers = [threading.Thread(target=self._call, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self.stopping.set()
            for worker in workers:
                worker.join(60)

    @property
    def done(self) -> int:
        return sum(self.statuses.values())

    def _call(self, number: int) -> None:
        path = "/v1/embeddings" if self.model == BASE.name else "/v1/classify"
        while not self.stopping.is_set():
            body = json.dumps({"model": self.model, "input": [f"text {number}"] * 3}).encode()
            status, _, answer = self.gateway.post(path, body, self.key)
            self.statuses[status] += 1
            if status != 200:
                self.wrong.append(answer)

    def more(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait for so many more calls."""
        before = self.done
        until(lambda: self.done >= before + count, seconds)


@contextlib.contextmanager
def two_engines(folder: Path) -> Iterator[tuple[Announced, Announced]]:
    with engine_announced(folder, "a") as one, engine_announced(folder, "b") as other:
        yield one, other
    until(lambda: not announced(), PATIENCE)
    time.sleep(2 * EVERY_S)  # other tests' gateways look as often, and ask their own engine once nobody announces


@contextlib.contextmanager
def gateway_of(person: Person) -> Iterator[GatewayProcess]:
    """A gateway that has found an engine."""
    with gateway_alone() as running:
        body = json.dumps({"model": BASE.name, "input": "hello"}).encode()
        until(lambda: running.post("/v1/embeddings", body, person.key)[0] == 200, PATIENCE)
        yield running


@pytest.fixture
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Announced, Announced]]:
    """Engines to be harmed."""
    with two_engines(tmp_path_factory.mktemp("e")) as both:
        yield both


@pytest.fixture
def door(two: tuple[Announced, Announced], cast: Cast) -> Iterator[GatewayProcess]:
    often(cast.owner)
    with gateway_of(cast.owner) as running:
        yield running


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Kept]:
    """For the tests that leave them as they are; these come last, for while they run there are no others."""
    with two_engines(tmp_path_factory.mktemp("k")) as both, gateway_of(make_person("ada")) as running:
        yield Kept(running, both)


def often(person: Person) -> None:
    """More calls than a free plan allows in a minute."""
    with tenant_scope(person.tenant.id):
        many = {"requests_per_minute": 1_000_000, "tokens_per_minute": 100_000_000, "concurrency": 64}
        override_set(limits=many, reason="a test", created_by="test")


def test_an_engine_leaves_under_load_and_no_call_fails(
    door: GatewayProcess, two: tuple[Announced, Announced], cast: Cast, tmp_path: Path
) -> None:
    hammer = Hammer(door, cast.owner.key)
    with contextlib.ExitStack() as engines, hammer.going():  # the last engine is there until the last call has ended
        hammer.more(40)
        until(lambda: all(engine.health().requests > 5 for engine in two), PATIENCE)  # both work
        two[0].process.send_signal(signal.SIGTERM)
        assert two[0].process.wait(PATIENCE) == 0
        hammer.more(40)
        third = engines.enter_context(engine_announced(tmp_path, "c"))  # and the other leaves: a rolling restart
        until(lambda: third.health().requests > 5, PATIENCE)
        two[1].process.send_signal(signal.SIGTERM)
        assert two[1].process.wait(PATIENCE) == 0
        hammer.more(40)
    assert hammer.statuses == {200: hammer.done}, hammer.wrong[:3]
    assert hammer.done > 120


@pytest.mark.chaos
def test_an_engine_that_is_killed_costs_its_calls_under_way_and_no_more(
    door: GatewayProcess, two: tuple[Announced, Announced], cast: Cast
) -> None:
    hammer = Hammer(door, cast.owner.key)
    with hammer.going():
        hammer.more(30)
        two[0].process.kill()
        hammer.more(60)
    assert set(hammer.statuses) <= {200, 503}
    assert hammer.statuses[503] <= 6, "one for each call that was under way at the most"


@pytest.mark.chaos
def test_an_engine_that_hangs_is_set_aside_within_seconds(
    door: GatewayProcess, two: tuple[Announced, Announced], cast: Cast
) -> None:
    hammer = Hammer(door, cast.owner.key)
    with hammer.going():
        hammer.more(30)
        two[0].process.send_signal(signal.SIGSTOP)
        time.sleep(6)  # noticed by now, though some calls of ours still wait in it
        fresh = Hammer(door, cast.owner.key)
        with fresh.going(2):
            fresh.more(20, 15)
        assert set(fresh.statuses) == {200}
        two[0].process.send_signal(signal.SIGCONT)
        hammer.more(1)
    assert set(hammer.statuses) == {200}, "what waited is answered when it goes on"


def test_an_emptied_redis_does_not_lose_the_engines(kept: Kept, cast: Cast) -> None:
    door, two = kept.door, kept.two
    body = json.dumps({"model": BASE.name, "input": "hello"}).encode()
    redis = Redis.from_url(settings.REDIS_URL)
    for engine in two:
        engine.process.send_signal(signal.SIGSTOP)  # so that it cannot say it again
    redis.delete(NAMES)
    time.sleep(1.5)
    for engine in two:
        engine.process.send_signal(signal.SIGCONT)
    assert door.post("/v1/embeddings", body, cast.owner.key)[0] == 200
    until(lambda: len(announced()) == 2, PATIENCE)


def test_a_model_is_brought_into_one_engine_and_asked_there(
    kept: Kept, cast: Cast, tmp_path: Path, settings: object
) -> None:
    door, two = kept.door, kept.two
    often(cast.owner)
    settings.ENGINE_ADDRESS = two[0].address.replace("unix:", "unix://")  # type: ignore[attr-defined]
    version, _ = trained(cast.owner, tmp_path / "artefact")
    deployment = deployed(cast.owner, version)
    assert deployment.state == "live", deployment.reason

    def held() -> list[list[str]]:
        own = cast.owner.tenant.id.hex
        return [[one.model for one in engine.health().residents if one.tenant == own] for engine in two]

    before = held()
    [name] = [digest(cast.owner.tenant.id.hex, model) for models in before for model in models]
    until(lambda: any(name in beat.residents for beat in announced()), PATIENCE)
    time.sleep(2 * EVERY_S)  # by then the gateway has read it; before, the model's home is as good a place
    hammer = Hammer(door, cast.owner.key, version.model.name)
    with hammer.going(2):
        hammer.more(40)
    assert set(hammer.statuses) == {200}, hammer.wrong[:3]
    assert held() == before, "a model that is not hot stands in one engine's memory"


def test_an_address_without_our_signature_is_sent_nothing(kept: Kept, cast: Cast, tmp_path: Path) -> None:
    door = kept.door
    often(cast.owner)
    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(str(tmp_path / "trap"))
        trap.listen()
        trap.settimeout(2.5)
        beat = Heartbeat(name="trap", address=f"unix:{tmp_path}/trap", at=time.time(), bases=[BASE.name])
        redis = Redis.from_url(settings.REDIS_URL)
        redis.sadd(NAMES, "trap")
        redis.set(key_of("trap"), signed(beat, "a guess"), ex=10)
        try:
            hammer = Hammer(door, cast.owner.key)
            with hammer.going(2):
                with pytest.raises(TimeoutError):
                    trap.accept()
            assert set(hammer.statuses) == {200}
            trap.settimeout(PATIENCE)
            redis.set(key_of("trap"), signed(beat, settings.ENGINE_TOKEN), ex=60)  # and with it, it is believed
            with Hammer(door, cast.owner.key).going(2):
                trap.accept()[0].close()
        finally:
            redis.delete(key_of("trap"))
            redis.srem(NAMES, "trap")
