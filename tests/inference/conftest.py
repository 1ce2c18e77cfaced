"""Engine processes for the tests: real ones, on Unix sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.client import BlockingClient
from inference.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a token for tests"


class EngineProcess:
    """A running engine and how to reach it."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self.address = address
        self.process = process

    def client(self) -> BlockingClient:
        return BlockingClient(self.address, TOKEN)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[EngineProcess]:
    """Start an engine, wait until it answers, stop it."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        address = f"unix:{folder}/socket"
        environment = os.environ | {"TUNESMITH_ENGINE_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", "inference", "--listen", address, *arguments], env=environment, cwd=ROOT
        )
        try:
            _wait(address, process)
            yield EngineProcess(address, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180  # an engine with bases that are not BERT imports torch and transformers
    while time.monotonic() < deadline:
        assert process.poll() is None, "the engine ended before it was ready"
        try:
            with BlockingClient(address, TOKEN) as client:
                client.health()
            return
        except Unavailable:
            time.sleep(0.05)
    raise AssertionError("the engine was not ready within 180 s")


@pytest.fixture(scope="session")
def engine() -> Iterator[EngineProcess]:
    """An exact engine (fp32), so that results can be compared closely."""
    with running("--precision", "fp32") as started:
        yield started
