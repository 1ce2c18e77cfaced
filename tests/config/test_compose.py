"""docker-compose.yml against the code: each process would start with what the image, .env and the file give it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from config import env
from gateway.app import HANDLERS
from inference.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
STARRED = {
    "SECRET_KEY": "0123456789" * 6,
    "BASE_URL": "https://example.com",
    "ALLOWED_HOSTS": "example.com",
    "ENGINE_TOKEN": "token",
    "STORAGE_ACCESS_KEY": "access",
    "STORAGE_SECRET_KEY": "secret",
    "POSTGRES_PASSWORD": "a",
    "OWNER_PASSWORD": "b",
    "APP_PASSWORD": "c",
    "OPS_PASSWORD": "d",
}
"""What the file's first lines tell an operator to set."""
NOT_SETTINGS = {"WORKER_QUEUE", "ADMIN_DATABASE_URL", "APP_PASSWORD", "OPS_PASSWORD", "OWNER_PASSWORD"}


def _dotenv() -> dict[str, str]:
    """`.env` as an operator makes it from the example."""
    lines = re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return {**dict(lines), **STARRED}


def _image() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return dict(pair.split("=", 1) for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE) for pair in line.split())


def _file() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    known = _dotenv()
    filled = re.sub(r"\$\{([A-Z_]+)(?::[-?][^}]*)?\}", lambda match: known.get(match[1], ""), text)
    return dict(yaml.safe_load(filled)["services"])


SERVICES = _file()
OURS = [name for name, service in SERVICES.items() if service.get("image") == "tunesmith"]


def _environment(name: str) -> dict[str, str]:
    """Docker's order: the image, then env_file, then environment."""
    dotenv = {name: value for name, value in _dotenv().items() if name in env.READ}
    return {**_image(), **dotenv, **{key: str(value) for key, value in SERVICES[name]["environment"].items()}}


def test_every_name_the_file_needs_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    needed = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert needed and {name for name in needed if not re.search(rf"^(# )?{name}=", example, re.MULTILINE)} == set()


@pytest.mark.parametrize("name", [name for name in OURS if "engine" not in name])
def test_a_container_has_settings_that_start_and_folders_of_its_image(name: str) -> None:
    given = _environment(name)
    assert set(SERVICES[name]["environment"]) - set(env.READ) <= NOT_SETTINGS
    asked = "from config import settings as s; print(s.HOME, s.STATIC_ROOT, s.USAGE_WAL_DIR, s.LOG_FORMAT, s.DEBUG)"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env={"PATH": os.environ["PATH"], **given, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["/data", "/srv/static", "/data/usage", "json", "False"], done.stderr


def test_the_engine_takes_its_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    words = SERVICES["engine"]["command"].split()
    assert words[:3] == ["python", "-m", "inference"]
    monkeypatch.setenv("TUNESMITH_ENGINE_TOKEN", SERVICES["engine"]["environment"]["TUNESMITH_ENGINE_TOKEN"])
    settings = Settings.from_command_line(words[3:])
    assert settings.stores == (SERVICES["web"]["environment"]["STORAGE_ENDPOINT"],)
    assert settings.metrics is not None and settings.token == STARRED["ENGINE_TOKEN"]


def test_every_long_running_container_of_ours_says_when_it_is_unwell() -> None:
    assert [name for name in OURS if name != "migrate" and "healthcheck" not in SERVICES[name]] == []


def test_a_container_is_killed_only_after_its_server_has_let_its_requests_end() -> None:
    servers = {name: service for name, service in SERVICES.items() if "uvicorn" in str(service.get("command"))}
    for name, service in servers.items():
        patience = re.search(r"--timeout-graceful-shutdown (\d+)", service["command"])
        assert patience and int(patience[1]) < int(service["stop_grace_period"].removesuffix("s")), name
    assert set(servers) == {"web", "gateway"}


def test_some_trainer_takes_the_jobs_of_every_plan() -> None:
    trainers = [name for name in OURS if SERVICES[name]["environment"].get("WORKER_QUEUE") == "train"]
    assert [name for name in trainers if "deploy" not in SERVICES[name]] == ["trainer-cpu"]
    assert SERVICES["trainer-cpu"]["environment"]["TRAINING_DEVICE"] == "cpu"


def test_the_proxy_brings_every_hot_path_to_the_gateway_and_only_those() -> None:
    (line,) = re.findall(r"^\s*@hot path (.*)$", (ROOT / "docs" / "Caddyfile").read_text(), re.MULTILINE)
    assert sorted(line.split()) == sorted(HANDLERS)


def test_deployments_with_engines_of_their_own_have_somebody_who_starts_them() -> None:
    words = SERVICES["keeper"]["command"].split()
    assert words == ["python", "manage.py", "engines"] and "engines" in get_commands()
