"""Engines on the hosts of a Ray cluster: Ray Serve places them, and starts another where one dies or a host is lost.

Each replica is the engine itself (`server.Service`) on a port of its host, announced in Redis as any other: gateways
ask it over the engines' own wire, and no call goes through Ray. `pip install tunesmith[ray]`, then, on the cluster:

    python -m inference.ray_serve --replicas 3 --cpus 4 -- --store https://store.example --depot /var/tmp/depot

What follows `--` are arguments of `python -m inference`. TUNESMITH_ENGINE_TOKEN and TUNESMITH_ENGINE_ANNOUNCE are read
from the environment of each node, so that no secret lies in Ray's store. Ray's own ports run code for whoever reaches
them: keep them in a private network and its token authentication on.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

import ray
from ray import serve

from inference.address import Address
from inference.errors import Unavailable
from inference.service import Service
from inference.settings import ANNOUNCE_VARIABLE, Settings

NAME = "tunesmith-engines"
ANYWHERE = "0.0.0.0"


class EngineReplica:
    """One engine in a replica of Ray Serve, on the replica's event loop."""

    async def __init__(self, arguments: list[str]) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        if not os.environ.get(ANNOUNCE_VARIABLE):
            raise ValueError(f"Set {ANNOUNCE_VARIABLE} on every node: nobody finds an engine that is not announced.")
        address = Address(host=ray.util.get_node_ip_address(), port=_free_port())
        settings = Settings.from_command_line(["--listen", f"{ANYWHERE}:{address.port}", *arguments])
        self._service = Service(dataclasses.replace(settings, advertise=address))
        await self._service.start()

    async def check_health(self) -> None:
        """Asked by Ray Serve; an engine that was told to leave is replaced."""
        if self._service.server.leaving.is_set():
            raise Unavailable("This engine was told to leave.")

    async def __del__(self) -> None:
        await self._service.stop()


def application(arguments: Sequence[str] = (), *, replicas: int = 1, cpus: float = 1.0, gpus: float = 0.0) -> Any:
    """The Serve application: so many engines, each with so much of a host."""
    drain_s = Settings.from_command_line(["--listen", "unix:/any", *arguments]).drain_s
    deployment = serve.deployment(
        name="engine",
        num_replicas=replicas,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        graceful_shutdown_timeout_s=drain_s + 10,
        health_check_period_s=5,
    )
    return deployment(EngineReplica).bind(list(arguments))


def place(made: Any) -> None:
    """Put the application on the cluster that this process is connected to, and wait until its engines are ready."""
    serve.start(proxy_location="Disabled")  # Ray's own door to HTTP: nobody comes that way
    serve.run(made, name=NAME, route_prefix=None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ANYWHERE, 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Put the engines on the cluster that RAY_ADDRESS names, or this one; they go on when this command has ended."""
    parser = argparse.ArgumentParser(prog="python -m inference.ray_serve", description="Engines on a Ray cluster.")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--cpus", type=float, default=1.0, help="cores of each")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of each")
    parser.add_argument("arguments", nargs="*", help="after --: arguments of python -m inference")
    found = parser.parse_args()
    ray.init(address="auto")
    place(application(found.arguments, replicas=found.replicas, cpus=found.cpus, gpus=found.gpus))
    return 0


if __name__ == "__main__":
    sys.exit(main())
