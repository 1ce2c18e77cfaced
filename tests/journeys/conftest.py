"""One whole running Tunesmith for the journeys: every process, real engines, ports and a home of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.embedded import run_dir
from tests import schema

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 240


@dataclass
class Stack:
    """Where the running product is."""

    base_url: str
    environment: dict[str, str]
    lines: list[str]

    @property
    def log(self) -> str:
        """The last lines all processes printed."""
        return "".join(self.lines[-200:])


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start `manage.py up`, wait until everything is ready, stop it at the end."""
    home = tmp_path_factory.mktemp("stack")
    schema.prepare(home)
    port = free_ports(2)
    environment = {
        **os.environ,
        "TUNESMITH_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "BASE_URL": f"http://localhost:{port}",
        "STRIPE_EMULATOR_PORT": str(port + 1),
        "LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "-u", "manage.py", "up", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: list[str] = []
    ready = threading.Event()
    threading.Thread(target=_read, args=(process, lines, ready), daemon=True).start()
    try:
        assert ready.wait(START_SECONDS) and process.poll() is None, f"the stack did not start:\n{''.join(lines[-60:])}"
        yield Stack(f"http://localhost:{port}", environment, lines)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(Path("/var/tmp") / run_dir(home).name, ignore_errors=True)


def _read(process: "subprocess.Popen[str]", lines: list[str], ready: threading.Event) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if re.search("Tunesmith is up", line):
            ready.set()
    ready.set()


def free_ports(count: int) -> int:
    """The first of some neighbouring free ports."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        try:
            for offset in range(count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", first + offset))
            return first
        except OSError:
            continue
