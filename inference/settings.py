"""How one engine process is run: a documented object, filled from the command line and the environment."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference import backends
from inference.address import Address
from inference.announcement import SHARED
from inference.scheduler import Limits

TOKEN_VARIABLE = "TUNESMITH_ENGINE_TOKEN"
ANNOUNCE_VARIABLE = "TUNESMITH_ENGINE_ANNOUNCE"
"""Where heartbeats go: a Redis URL, which may hold a password and is no argument for that."""
VLLM_VARIABLE = "TUNESMITH_VLLM"
VLLM_KEY_VARIABLE = "TUNESMITH_VLLM_KEY"
MIB = 1024 * 1024
DEPOT = Path(tempfile.gettempdir()) / "tunesmith-artefacts"
TRIALS = Path(tempfile.gettempdir()) / "tunesmith-trials"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Sizes in bytes; counts of rows, tokens and threads; times in seconds."""

    listen: Address
    token: str = ""  # callers must present it; may be empty only on a Unix socket
    backend: str = "auto"  # one of `inference.backends.NAMES`, or auto: the fastest in a trial at the first start
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    precision: str = "auto"  # auto | bf16 | fp32; auto is part of the same trial
    threads: int = 0  # of the backend; 0 takes every core, or one where threads would spin (torch on a CPU)
    catalogue: Path | None = None  # JSON file of more bases
    roots: tuple[Path, ...] = ()  # artefacts are read from below these folders only; empty means anywhere
    stores: tuple[str, ...] = ()  # origins of object stores that artefacts may be fetched from
    depot: Path = DEPOT  # where fetched artefacts are kept
    depot_bytes: int = 8192 * MIB  # cap of that folder
    trials: Path = TRIALS  # where the choice of backend is kept, for the next start on this machine
    resident_bytes: int = 2048 * MIB  # budget for heads, adapters and full encoders
    floor_bytes: int = 128 * MIB  # what a tenant keeps however busy the others are
    neighbour_bytes: int = 256 * MIB  # vectors of training data in memory, and as much of them on disk
    cache_bytes: int = 512 * MIB  # keys and values of each causal base
    writing_rows: int = 64  # texts that one causal base writes at the same time
    vllm: str = "vllm"  # the program that serves bases whose backend it is
    vllm_key: str = ""  # of servers that run already
    limits: Limits = field(default_factory=Limits)
    metrics: Address | None = None  # where scrapes are answered; not a Unix socket
    drain_s: float = 10.0  # finish what was taken for so long after SIGTERM
    announce: str = ""  # Redis that gateways look for engines in; empty: they are told this address otherwise
    advertise: Address = field(default_factory=Address)  # what is announced; by default where it listens
    pool: str = SHARED  # whom it serves: everybody, nobody yet, or one deployment

    def __post_init__(self) -> None:
        if not self.token and not self.listen.path:
            raise ValueError(f"An engine that listens on TCP needs a token: set {TOKEN_VARIABLE}.")
        if self.announce and not self.token:
            raise ValueError(f"An engine that announces itself signs with the token: set {TOKEN_VARIABLE}.")
        if self.metrics is not None and self.metrics.path:
            raise ValueError("Metrics are answered over HTTP: give --metrics a host and a port.")
        if self.floor_bytes > self.resident_bytes:
            raise ValueError("A tenant's floor cannot be larger than the whole budget for models.")

    @classmethod
    def from_command_line(cls, arguments: Sequence[str] | None = None) -> Settings:
        """Parse `python -m inference …`; the token comes from the environment, never from the command line."""
        parser = argparse.ArgumentParser(prog="python -m inference", description="Tunesmith's engine process.")
        add = parser.add_argument
        add("--listen", required=True, help="host:port or unix:/path/to/socket")
        add("--backend", default="auto", choices=["auto", *backends.NAMES])
        add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
        add("--precision", default="auto", choices=["auto", "bf16", "fp32"])
        add("--threads", type=int, default=0, help="threads of the backend; 0 leaves it to the backend")
        add("--catalogue", type=Path, help="JSON file of bases beside the bundled one")
        add("--root", type=Path, action="append", default=[], help="folder that artefacts may lie in; repeatable")
        add("--store", action="append", default=[], help="origin of an object store, https://host[:port]; repeatable")
        add("--depot", type=Path, default=DEPOT, help="folder for artefacts fetched from a store")
        add("--depot-mib", type=int, default=8192, help="cap of that folder")
        add("--trials", type=Path, default=TRIALS, help="folder that keeps which backend was the fastest here")
        add("--resident-mib", type=int, default=2048, help="memory for heads, adapters and full encoders")
        add("--floor-mib", type=int, default=128, help="memory that a tenant keeps however busy the others are")
        add("--neighbour-mib", type=int, default=256, help="memory, and disk, for vectors of training data")
        add("--cache-mib", type=int, default=512, help="memory for keys and values of each base that writes")
        add("--writing-rows", type=int, default=64, help="texts that a base writes at the same time")
        add("--vllm", default=os.environ.get(VLLM_VARIABLE) or "vllm", help="the program `vllm`, where a base names it")
        add("--max-wait", type=float, default=20.0, help="refuse requests that would wait longer, in seconds")
        add("--longest", type=float, default=25.0, help="refuse requests that would compute longer, in seconds")
        add("--drain-seconds", type=float, default=10.0, help="after SIGTERM, finish what was taken for so long")
        add("--advertise", default="", help="address to announce, if callers cannot use the one of --listen")
        add("--pool", default=SHARED, help="whom to serve: shared, warm, or the name of a deployment's pool")
        add("--metrics", default="", help="host:port that answers Prometheus, inside a private network only")
        found = parser.parse_args(arguments)
        try:
            return cls(
                listen=Address.parse(found.listen),
                token=os.environ.get(TOKEN_VARIABLE, ""),
                backend=found.backend,
                device=found.device,
                precision=found.precision,
                threads=found.threads,
                catalogue=found.catalogue,
                roots=tuple(found.root),
                stores=tuple(store.rstrip("/") for store in found.store),
                depot=found.depot,
                depot_bytes=found.depot_mib * MIB,
                trials=found.trials,
                resident_bytes=found.resident_mib * MIB,
                floor_bytes=min(found.floor_mib, found.resident_mib) * MIB,
                neighbour_bytes=found.neighbour_mib * MIB,
                cache_bytes=found.cache_mib * MIB,
                writing_rows=found.writing_rows,
                vllm=found.vllm,
                vllm_key=os.environ.get(VLLM_KEY_VARIABLE, ""),
                limits=Limits(wait_s=found.max_wait, longest_s=found.longest),
                metrics=Address.parse(found.metrics) if found.metrics else None,
                drain_s=found.drain_seconds,
                announce=os.environ.get(ANNOUNCE_VARIABLE, ""),
                advertise=Address.parse(found.advertise or found.listen),
                pool=found.pool,
            )
        except ValueError as error:
            parser.error(str(error))
