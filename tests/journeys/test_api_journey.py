"""The whole main job over the public doors, with the official clients and real workers: the demo is the test."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def test_the_demo_does_the_whole_main_job(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-u", str(ROOT / "examples" / "demo.py"), stack.base_url],
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{stack.log}"
    for sign in ("plan Developer", "is active", "gate passed", "is live", "3 decisions metered"):
        assert sign in done.stdout, f"{sign!r} is missing:\n{done.stdout}"
