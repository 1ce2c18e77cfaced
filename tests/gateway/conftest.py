"""A gateway process and an engine process on this run's database and Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from django.conf import settings

from tests.conftest import Person
from tests.gateway.writing_engine import Wired, wired
from tests.serving.made import engine_running

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class GatewayProcess:
    """A running gateway and how to call it."""

    url: str
    process: subprocess.Popen[bytes]

    def client(self, person: Person | str, **options: Any) -> openai.OpenAI:
        """The official client with the person's key."""
        key = person if isinstance(person, str) else person.key
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, **options)

    def post(self, path: str, body: bytes, key: str | None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """A raw POST: status, headers in lower case, body."""
        request = urllib.request.Request(self.url + path, data=body, method="POST")
        request.add_header("content-type", "application/json")
        if key is not None:
            request.add_header("authorization", f"Bearer {key}")
        for name, value in headers.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


@pytest.fixture(scope="package")
def gateway(django_db_setup: None) -> Iterator[GatewayProcess]:
    """The whole hot path, as in production: its own process on uvicorn."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "TUNESMITH_HOME": str(settings.HOME)}
    command = [sys.executable, "-m", "uvicorn", "gateway.asgi:application", "--port", str(port)]
    with engine_running():
        process = subprocess.Popen([*command, "--log-level", "warning", "--no-access-log"], env=environment, cwd=ROOT)
        try:
            until_answers(f"http://127.0.0.1:{port}/healthz", process)
            yield GatewayProcess(f"http://127.0.0.1:{port}", process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="package")
def writing(django_db_setup: None) -> Iterator[Wired]:
    """The gateway on a server in this process, with an engine that writes what tests tell it to."""
    with wired() as running:
        yield running


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a fresh process serves."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the gateway ended before it was ready"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the gateway was not ready within 60 s")
