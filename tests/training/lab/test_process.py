"""The lab as a process: its lines, its exit status, signals, and what it does not import."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.late import late
from tests.training.lab.runs import ROOT, Outcome, artefact_tensors, train_here

torch = late("torch")

pytestmark = pytest.mark.slow

Settings = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]
Start = Callable[..., "subprocess.Popen[str]"]


def test_a_run_ends_with_status_0_and_a_done_event(settings_for: Settings, run_lab: Run) -> None:
    outcome = run_lab(settings_for(epochs=1))
    assert outcome.code == 0, outcome.errors
    done = outcome.events[-1]
    assert done["event"] == "done"
    assert Path(done["artefact"], "artefact.json").is_file()
    assert json.loads(Path(done["report"]).read_text())["format"] == 1
    suffixes = {path.suffix for path in Path(done["artefact"]).iterdir()}
    assert suffixes == {".json", ".jsonl", ".safetensors"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "magic"}, "'method'"),
        ({"data": "/nowhere/d.parquet"}, "does not exist"),
        ({"resume": "/nowhere/step-00000001"}, "checkpoint to resume from does not exist"),
    ],
)
def test_bad_input_ends_with_status_2_and_the_reason(
    settings_for: Settings, run_lab: Run, change: dict[str, Any], words: str
) -> None:
    outcome = run_lab(settings_for(**change))
    assert outcome.code == 2
    assert outcome.events[-1]["event"] == "error"
    assert outcome.events[-1]["code"] == "bad_data"
    assert words in outcome.events[-1]["message"]


def test_a_config_that_is_no_json_ends_with_status_2(run_lab: Run) -> None:
    outcome = run_lab("{oops")
    assert (outcome.code, outcome.events[-1]["code"]) == (2, "bad_data")


def test_divergence_ends_with_status_3(settings_for: Settings, run_lab: Run) -> None:
    outcome = run_lab(settings_for(learning_rate=1e5, epochs=30, patience=0, warmup=0.0))
    assert (outcome.code, outcome.events[-1]["code"]) == (3, "diverged")


def test_running_out_of_memory_ends_with_status_4_and_advice(settings_for: Settings) -> None:
    # The recipe is the real one; only the machine is made small, by a model that asks for a terabyte.
    program = (
        "import sys, torch\n"
        "from training.lab import __main__ as lab, learners\n"
        "learners.EncoderLearner.logits = lambda self, rows: torch.empty(2**40)\n"
        "sys.exit(lab.main(sys.argv[1:]))\n"
    )
    config = settings_for()
    path = Path(config["output"]).parent / "c.json"
    path.write_text(json.dumps(config))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, env=environment, timeout=240
    )
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last["code"]) == (4, "out_of_memory"), done.stderr
    assert "batch size" in last["message"]


def _until_steps(process: "subprocess.Popen[str]", steps: int) -> list[dict[str, Any]]:
    """Read events until training has made so many steps."""
    events = []
    assert process.stdout is not None
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "step" and events[-1]["step"] >= steps:
            return events
    raise AssertionError(f"the run ended first: {events[-1:]}")


def test_sigterm_ends_within_seconds_with_a_checkpoint_and_status_75_and_resuming_is_exact(
    settings_for: Settings, start_lab: Start, tmp_path: Path
) -> None:
    whole = settings_for(output=str(tmp_path / "whole"), epochs=30, patience=0)
    train_here(whole)
    cut = settings_for(output=str(tmp_path / "cut"), epochs=30, patience=0)
    process = start_lab(cut)
    _until_steps(process, 20)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert time.monotonic() - asked < 15
    last = json.loads(out.splitlines()[-1])
    assert last["event"] == "checkpoint" and len(last["manifest_sha256"]) == 64
    second = cut | {"resume": last["path"], "output": str(tmp_path / "second")}
    train_here(second)
    expected, got = artefact_tensors(whole), artefact_tensors(second)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_killed_run_resumes_from_its_last_checkpoint_to_the_same_weights(
    settings_for: Settings, start_lab: Start, tmp_path: Path
) -> None:
    whole = settings_for(output=str(tmp_path / "whole"), epochs=6, patience=0)
    train_here(whole)
    cut = settings_for(output=str(tmp_path / "cut"), epochs=6, patience=0, checkpoint_seconds=0.05)
    process = start_lab(cut)
    _until_steps(process, 20)
    process.kill()
    process.communicate(timeout=60)
    second = cut | {"resume": str(tmp_path / "cut" / "checkpoints"), "output": str(tmp_path / "second")}
    told = train_here(second)
    assert next(e for e in told if e.get("phase") == "training")["step"] > 0
    # checkpoint_seconds says when, not what: it is not part of the run's identity
    expected, got = artefact_tensors(whole), artefact_tensors(second)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_run_whose_reader_is_gone_stops_with_a_checkpoint(
    settings_for: Settings, start_lab: Start, tmp_path: Path
) -> None:
    process = start_lab(settings_for(output=str(tmp_path / "orphan"), epochs=500, patience=0))
    _until_steps(process, 10)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 75
    process.stderr.close()
    assert list((tmp_path / "orphan" / "checkpoints").glob("step-*"))


def test_the_lab_and_the_evaluation_import_no_django() -> None:
    program = (
        "import importlib, pkgutil, sys, training.lab, evaluation\n"
        "for room in (training.lab, evaluation):\n"
        "    for module in pkgutil.iter_modules(room.__path__, room.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(sorted(names & {'django', 'celery', 'rest_framework', 'kit', 'tenants', 'transformers'}) or 0)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_estimate_and_the_config_need_no_torch() -> None:
    program = (
        "import sys, training.lab.estimate, training.lab.config, evaluation.report\n"
        "sys.exit(int('torch' in sys.modules))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
