"""`manage.py up` as a user meets it: starts, says what is wrong, survives kill -9, stops everything."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from config.embedded import run_dir

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


class Up:
    """One `manage.py up` with a home and ports of its own."""

    def __init__(self, home: Path, only: str = "web,default") -> None:
        self.home, self.only, self.port = home, only, free_port()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "subprocess.Popen[str]":
        environment = {
            **os.environ,
            "TUNESMITH_HOME": str(self.home),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "STRIPE_EMULATOR_PORT": str(self.port + 500),
        }
        command = [sys.executable, "-u", "manage.py", "up", "--only", self.only, "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self.process

    def until(self, pattern: str, seconds: float = 240) -> str:
        """Read lines until one matches."""
        assert self.process is not None and self.process.stdout is not None
        deadline, seen = time.monotonic() + seconds, []
        for line in self.process.stdout:
            seen.append(line)
            if re.search(pattern, line):
                return line
            if time.monotonic() > deadline:
                break
        raise AssertionError(f"no line matched {pattern!r}:\n{''.join(seen)[-4000:]}")

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=120)
        return self.process.returncode


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all: only the first start makes its database, the others find it as a user's second start does."""
    folder = tmp_path_factory.mktemp("home")
    yield folder
    shutil.rmtree(Path("/var/tmp") / run_dir(folder).name, ignore_errors=True)


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    one = Up(home)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) % 20_000 + 20_000


def test_it_starts_answers_refuses_a_second_start_and_stops_everything_on_ctrl_c(up: Up) -> None:
    process = up.start()
    up.until("Tunesmith is up")
    assert up.get("/healthz") == (200, {"status": "ok"})
    status, parts = up.get("/readyz")
    assert status == 503 and set(parts["parts"]) == {"database", "redis", "workers", "engine"}  # type: ignore[arg-type]
    family = psutil.Process(process.pid).children(recursive=True)
    twin = Up(up.home)
    output, _ = twin.start().communicate(timeout=120)
    assert "running already" in output and twin.process is not None and twin.process.returncode == 1
    assert up.stop() == 0
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_it_survives_a_kill_and_keeps_its_data(up: Up) -> None:
    up.only = "default"
    process = up.start()
    data = Path(up.until(r"postgres . data in ").split("data in ")[1].strip())
    up.until("Tunesmith is up")
    family = psutil.Process(process.pid).children(recursive=True)
    children = [child for child in family if child.name() not in {"postgres", "redis-server"}]
    process.kill()
    process.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == [], "children outlived the runner"
    made = (data / "PG_VERSION").stat().st_mtime
    up.start()
    up.until("Tunesmith is up")
    assert (data / "PG_VERSION").stat().st_mtime == made
    assert up.stop() == 0


def test_the_death_of_one_stops_all(up: Up) -> None:
    process = up.start()
    up.until("Tunesmith is up")
    worker = next(
        child for child in psutil.Process(process.pid).children() if "config.background" in " ".join(child.cmdline())
    )
    worker.kill()
    up.until("default ended")
    assert process.wait(timeout=120) == 1


def test_a_taken_port_is_named_with_the_way_out(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", up.port))
        taken.listen()
        process = up.start()
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and f"Port {up.port} (web) is taken" in output and "--port" in output


def test_an_unknown_part_is_named(up: Up) -> None:
    up.only = "web,fridge"
    output, _ = up.start().communicate(timeout=120)
    assert "not fridge" in output


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, home: str) -> None:
    (tmp_path / "file").write_text("")
    up = Up(tmp_path / home)
    process = up.start()
    assert "TUNESMITH_HOME" in up.until("CommandError")
    assert process.wait(10) != 0


@pytest.mark.chaos
def test_an_engine_that_dies_is_started_again_and_nothing_else_stops(tmp_path: Path) -> None:
    up = Up(tmp_path / "home", "engine")
    process = up.start()
    try:
        up.until("is up after")
        first = engine_of(process)
        first.kill()
        up.until(r"engine │ ended \(exit -9\); it is started again in 0.5 s")
        up.until("ready on unix:")
        again = engine_of(process)
        assert again.pid != first.pid and process.poll() is None
        again.kill()
        up.until("it is started again in 1 s")  # it did not last, so later
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    finally:
        process.kill()


def engine_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """The engine among the children of an `up`."""
    return next(one for one in psutil.Process(process.pid).children() if "inference" in one.cmdline())
