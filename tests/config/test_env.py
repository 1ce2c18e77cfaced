"""Settings are read by typed readers, and `.env.example` names exactly what they read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import env

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
    ],
)
def test_nonsense_stops_the_start_with_a_sentence(name: str, value: str, says: str) -> None:
    done = _check({name: value})
    assert done.returncode != 0 and says in done.stderr


def test_production_refuses_a_short_secret() -> None:
    done = _check({"DEBUG": "false", "SECRET_KEY": "short"})
    assert done.returncode != 0 and "at least 50 random characters" in done.stderr


def _check(extra: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "import config.settings"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", **extra}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
