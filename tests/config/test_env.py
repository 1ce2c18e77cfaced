"""Settings are read by typed readers, and `.env.example` names exactly what they read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import env
from config.embedded import mail_settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_file_names_exactly_what_settings_read() -> None:
    named = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert named == set(env.READ)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DEBUG", "perhaps", "neither true nor false"),
        ("STRIPE_EMULATOR_PORT", "eighty", "not a whole number"),
        ("STRIPE_EMULATOR_PORT", "70000", "outside 1 to 65535"),
        ("LOG_FORMAT", "xml", "not one of text, json"),
        ("DATABASE_URL", "postgresql://x@/y", "together, or none"),
        ("SECRET_KEY_FILE", "/nonexistent", "cannot be read"),
        ("OWNER_DATABASE_URL", "mysql://a@b/c", "OWNER_DATABASE_URL is no address of the form postgresql://"),
        ("DATABASE_URL", "postgresql://a:pass-word@b:99999/c", "DATABASE_URL is no address"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL is no address of the form redis://"),
        ("BROKER_URL", "amqp://broker", "BROKER_URL is no address"),
        ("BASE_URL", "example.com", "BASE_URL is no address of the form https://host"),
        ("BASE_URL", "https://example.com/app?x", "BASE_URL is no address"),
        ("ALLOWED_HOSTS", "https://example.com", "without a scheme"),
        ("CSRF_TRUSTED_ORIGINS", "example.com", "with their scheme"),
        ("ENGINE_ADDRESS", "engine", "ENGINE_ADDRESS is no address of the form tcp://"),
        ("MAIL_URL", "mail.example.com", "MAIL_URL is no address"),
        ("MAIL_FROM", "nobody", "must hold an address"),
        ("STORAGE_ENDPOINT", "store:9000", "STORAGE_ENDPOINT is no address"),
        ("STORAGE_ACCESS_KEY", "only this", "together, or neither"),
        ("STRIPE_SECRET_KEY", "pk_live_published", "secret or restricted key"),
        ("BASES_FILE", "/nonexistent.json", "which is no file"),
        ("TRAINING_LEASE_SECONDS", "5", "half of TRAINING_LEASE_SECONDS"),
    ],
)
def test_nonsense_stops_the_start_with_a_sentence(name: str, value: str, says: str) -> None:
    done = _check({name: value})
    assert done.returncode != 0 and says in done.stderr
    assert "pass-word" not in done.stderr and "Traceback" not in done.stderr


def test_production_refuses_a_short_secret() -> None:
    done = _check({"DEBUG": "false", "SECRET_KEY": "short"})
    assert done.returncode != 0 and "at least 50 random characters" in done.stderr


def test_an_open_engine_port_needs_a_token() -> None:
    production = {"DEBUG": "false", "SECRET_KEY": "0123456789" * 6, "ALLOWED_HOSTS": "example.com"}
    done = _check({**production, "ENGINE_ADDRESS": "tcp://engine:7070"})
    assert done.returncode != 0 and "ENGINE_TOKEN must be set" in done.stderr
    assert _check({**production, "ENGINE_ADDRESS": "tcp://engine:7070", "ENGINE_TOKEN": "t"}).returncode == 0


@pytest.mark.parametrize(
    ("url", "port", "starttls", "implicit"),
    [
        ("smtp://u:p%40x@mail.example.com", 587, True, False),
        ("smtps://u:p%40x@mail.example.com", 465, False, True),
        ("smtp://relay:25", 25, False, False),
    ],
)
def test_a_mail_password_never_travels_in_the_clear(url: str, port: int, starttls: bool, implicit: bool) -> None:
    found = mail_settings(url)
    assert (found["EMAIL_PORT"], found["EMAIL_USE_TLS"], found["EMAIL_USE_SSL"]) == (port, starttls, implicit)
    assert found["EMAIL_HOST_PASSWORD"] in {"p@x", ""}


def _check(extra: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "import config.settings"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", **extra}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
