"""Confinement at start-up: where it is required and cannot be had nothing starts; where it is optional, it is told."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config import checks
from config.celery import _confine
from config.env import SettingError
from kit import sandbox

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine without bubblewrap."""
    monkeypatch.setattr(sandbox, "fault", lambda: "bubblewrap (bwrap) is not installed")
    sandbox.in_force.cache_clear()
    yield
    sandbox.in_force.cache_clear()


def test_required_without_bubblewrap_is_an_error_and_no_worker_starts(without: None, settings: Any) -> None:
    settings.SANDBOX = "required"
    (found,) = checks.confinement()
    assert found.is_serious() and "SANDBOX=required, but bubblewrap (bwrap) is not installed" in str(found.msg)
    with pytest.raises(SettingError, match="SANDBOX=required"):
        _confine()


@pytest.mark.parametrize(("mode", "says"), [("auto", "a session of their own"), ("off", "SANDBOX=off")])
def test_a_deployment_is_told_what_is_not_confined(without: None, settings: Any, mode: str, says: str) -> None:
    settings.SANDBOX = mode
    assert checks.confinement() == []
    (found,) = checks.confinement_in_force()
    assert not found.is_serious() and says in str(found.msg)
    _confine()


def test_the_check_command_fails_where_it_is_required_and_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "SANDBOX": "required"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "tunesmith.E001" in done.stderr and "Traceback" not in done.stderr
