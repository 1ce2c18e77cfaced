"""Torch computes in one thread per lane on a CPU: several would wait for each other at spinning barriers, and fall to a
tenth of their speed where another process takes a core (docs/decisions/0033)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.inference.conftest import ROOT
from tests.training.lab.causal_bases import tiny_llama

pytestmark = pytest.mark.slow  # starts a process with torch
PLACES = ("encoders", "hub", "writing")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process says that is left to itself, and that is told to take four."""
    folder = tmp_path_factory.mktemp("threads")
    base = {"folder": str(tiny_llama(folder / "base")), "max_length": 128}
    (folder / "bases.json").write_text(json.dumps({"bases": {"tiny": base}}))
    command = [sys.executable, "-m", "tests.inference.joining", str(folder / "bases.json"), "0", "4"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("place", PLACES)
def test_left_to_itself_torch_has_one_thread_in_each_lane(found: Any, place: str) -> None:
    numbers, more = found[0][place]
    assert numbers == [1] * (found[0]["lanes"] if place == "encoders" else 1)
    assert more <= 0, "another thread came to help"


def test_whoever_asks_for_more_gets_them_so_that_helpers_would_be_seen(found: Any) -> None:
    assert found[1]["lanes"] == 2
    assert [found[1][place][0] for place in PLACES] == [[2, 2], [4], [4]]
    assert found[1]["encoders"][1] > 0 and found[1]["writing"][1] > 0, "the hub takes over the encoders' helpers"
