"""One run on several devices: here two processes on a CPU, which talk as they would between GPUs of one machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.late import late
from tests.training.background import until
from tests.training.lab.runs import Outcome, artefact_tensors, report_of, train_here
from training.lab.config import config_from
from training.lab.errors import BadData

torch = late("torch")

pytestmark = pytest.mark.slow  # trains models

Settings = Callable[..., dict[str, Any]]
Lab = Callable[..., Outcome]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def still_base(tiny_base: Path, tmp_path: Path) -> str:
    """The tiny base without dropout, which each device draws for itself."""
    folder = shutil.copytree(tiny_base, tmp_path / "still-base")
    shape = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(shape | {"hidden_dropout_prob": 0.0}))
    return str(folder)


def largest_gap(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Between the trained weights of two runs."""
    ours, theirs = artefact_tensors(one), artefact_tensors(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("changes", [{"method": "full"}, {"method": "lora", "class_weights": "balanced"}])
def test_two_devices_train_what_one_trains(
    settings_for: Settings, run_lab: Lab, still_base: str, tmp_path: Path, changes: dict[str, Any]
) -> None:
    # 13 rows a batch: shares of 7 and 6. The rate is low, for Adam makes much of the last digit of a small gradient.
    config = settings_for(base=still_base, batch_size=13, learning_rate=2e-5, **changes)
    one = config | {"output": str(tmp_path / "one")}
    two = config | {"output": str(tmp_path / "two"), "gpus": 2}
    train_here(one)
    done = run_lab(two)
    assert done.code == 0 and len(done.named("done")) == 1
    steps = [event["step"] for event in done.named("step")]
    assert steps == sorted(set(steps)), "one of them speaks"
    assert largest_gap(one, two) < 5e-5  # sums in another order
    alone, shared = report_of(one), report_of(two)
    for name, figure in alone["test"].items():
        if isinstance(figure, dict) and "value" in figure:  # sums of two halves round otherwise in the sixth digit
            assert shared["test"][name] == pytest.approx(figure, abs=1e-5), name
        else:
            assert shared["test"][name] == figure, name
    for name in ("steps", "tokens", "epochs_run", "best_epoch"):
        assert alone["training"][name] == shared["training"][name]


def test_a_killed_run_on_two_devices_goes_on_as_if_it_had_not_been(
    settings_for: Settings, run_lab: Lab, start_lab: Start, tmp_path: Path
) -> None:
    whole = settings_for(gpus=2, epochs=5, patience=0, output=str(tmp_path / "whole"))
    killed = whole | {"output": str(tmp_path / "killed"), "checkpoint_seconds": 0.0}
    assert run_lab(whole).code == 0
    process = start_lab(killed)
    points = tmp_path / "killed" / "checkpoints"
    until(lambda: points.is_dir() and len(list(points.glob("step-*"))) >= 2)
    process.kill()
    process.communicate()
    until(lambda: not others_of(tmp_path / "killed"))
    resumed = run_lab(killed | {"resume": str(points)})
    assert resumed.code == 0
    first = next(event for event in resumed.events if event.get("phase") == "training")
    assert first["step"] > 0 and largest_gap(whole, killed) == 0.0


def test_sigterm_writes_a_checkpoint_and_ends_all(settings_for: Settings, start_lab: Start, tmp_path: Path) -> None:
    process = start_lab(settings_for(gpus=2, epochs=500, patience=0))
    for line in process.stdout or ():
        if json.loads(line)["event"] == "step":
            break
    assert others_of(tmp_path)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "checkpoint"
    until(lambda: not others_of(tmp_path))


def test_a_process_that_dies_ends_the_run(settings_for: Settings, start_lab: Start, tmp_path: Path) -> None:
    process = start_lab(settings_for(gpus=2, epochs=500, patience=0))
    for line in process.stdout or ():
        if json.loads(line)["event"] == "step":
            break
    (other,) = others_of(tmp_path)
    os.kill(other, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert [json.loads(line)["event"] for line in out.splitlines()].count("error") == 1


def test_what_diverges_is_said_once(settings_for: Settings, run_lab: Lab) -> None:
    done = run_lab(settings_for(gpus=2, learning_rate=1e6, epochs=50, patience=0))
    assert done.code == 3
    assert [event["code"] for event in done.events if event["event"] == "error"] == ["diverged"]


def test_a_head_trains_on_one(settings_for: Settings) -> None:
    with pytest.raises(BadData, match="'gpus'"):
        config_from(settings_for(gpus=2, method="head"))


def others_of(folder: Path) -> list[int]:
    """Processes of a run below this folder that are not its first."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"training.lab" in words and b"TUNESMITH_LAB_RANK=" in environment and str(folder).encode() in words:
            found.append(int(entry.name))
    return found
