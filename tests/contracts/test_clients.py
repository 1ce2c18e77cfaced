"""Programs with the clients that people use, in environments of their own, over HTTP against the whole product.

An environment is made once and kept beside the homes of the tests. Where it cannot be made the test says why and is
skipped; the client of our own environment always runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from batches.worker import asking, duty, watch
from billing.services.entitlements import override_set
from inference.tasks import MULTI_LABEL
from registry.bases import catalogue
from registry.models import Model
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tests.chaos.doors import engine_socket
from tests.console.things import made_deployment
from tests.gateway.conftest import ROOT, free_port, until_answers
from tests.gateway.writing_engine import WRITER, WRITES, key_with, on_plan, until
from tests.inference.artefacts import BASE

pytestmark = pytest.mark.slow  # starts real processes, and may make an environment

PROGRAMS = ROOT / "tests" / "contracts" / "clients"
ENVIRONMENTS = Path(settings.HOME).parent / "clients"
REQUIRED = {"openai-2": ["openai>=2,<3", "langchain-openai>=1,<2"]}
"""What each environment has. LangChain's package works with either major; one environment is quicker made than two."""
PATIENCE = 300


def interpreter(name: str) -> str:
    """The Python of an environment with what `REQUIRED` names; made where it is not there."""
    folder = ENVIRONMENTS / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        # Our own pip fills it, and nothing is compiled that no program imports: half of the time.
        venv.create(folder, with_pip=False, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
        command = [*pip, "install", "--quiet", "--no-compile", *REQUIRED[name]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"pip did not bring {REQUIRED[name]} in {PATIENCE} s")
        if done.returncode:
            pytest.skip(f"pip cannot bring {REQUIRED[name]}: {done.stderr.strip()[-300:]}")
        ready.touch()
    return str(python)


@pytest.fixture(scope="module")
def told(django_db_setup: None) -> Iterator[dict[str, str]]:
    """What a program is told; the product and an engine run meanwhile."""
    port, socket = free_port(), engine_socket(Path(settings.HOME))
    socket.unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "ENGINE_ADDRESS": f"unix://{socket}",
        "GATEWAY_IN_WEB": "true",
    }
    words = ("--port", str(port), "--http", "kit.server:PatientHttp", "--log-level", "warning", "--no-access-log")
    engine = [sys.executable, "-m", "tests.chaos.writer", str(socket), "0"]
    web = [sys.executable, "-m", "uvicorn", "tests.contracts.served:application", *words]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in (engine, web)]
    try:
        until_answers(f"http://127.0.0.1:{port}/healthz", processes[1])
        until(socket.exists, 60)
        yield {"BASE_URL": f"http://127.0.0.1:{port}/v1", "WRITER": WRITER, "READER": BASE.name}
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def run(python: str, program: str, told: dict[str, str]) -> Any:
    """What a program says of itself. It sees nothing of this environment."""
    command = [python, "-W", "error::DeprecationWarning:__main__", str(PROGRAMS / f"{program}.py")]
    clean = {"PATH": os.environ["PATH"], "HOME": str(ENVIRONMENTS), "OPENAI_LOG": "", "LANGSMITH_TRACING": "false"}
    done = subprocess.run(command, env=clean | told, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def somebody() -> dict[str, str]:
    """A customer with a classifier, and the keys that the programs ask for."""
    person = on_plan("client")
    moderator = made_deployment(person).model
    with tenant_scope(person.tenant.id):
        Model.objects.filter(pk=moderator.pk).update(task=MULTI_LABEL)
        override_set(limits={"requests_per_minute": 10_000}, reason="a test", created_by="test")
        blind = key_create(project=person.project, name="reads only", scopes=["files.read"])[1]
    return {
        "KEY": person.key,
        "CLASSIFIER": made_deployment(person).model.name,
        "MODERATOR": moderator.name,
        "KEY_WITHOUT_SCOPE": blind,
        "KEY_WITHOUT_MONEY": key_with(person, monthly_spend_nano=1),
        "KEY_OF_FEW": key_with(person, requests_per_minute=30),
    }


@pytest.mark.parametrize("major", [2, 3])
def test_the_official_client_of_two_major_versions(
    told: dict[str, str], major: int, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openai

    settings.GATEWAY_URL = told["BASE_URL"].removesuffix("/v1")
    monkeypatch.setitem(catalogue(), WRITER, WRITES)
    monkeypatch.setattr(asking, "STORE_SECONDS", 0.2)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.2)

    ours = int(openai.__version__.split(".")[0])
    python = sys.executable if major == ours else interpreter(f"openai-{major}")
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        program = beside.submit(run, python, "official", told | somebody())
        while not program.done():
            duty.work()  # the worker of its batches
            time.sleep(0.1)
    said = program.result()
    assert said["openai"].startswith(f"{major}.") and said["steps"] == 9
    assert said["decides"] == (major > 2), "the client learnt to ask for decisions in its third version"
    assert time.monotonic() - begun < 90


def test_a_program_on_langchain(told: dict[str, str]) -> None:
    assert run(interpreter("openai-2"), "langchain", told | somebody())["langchain-openai"].startswith("1.")
