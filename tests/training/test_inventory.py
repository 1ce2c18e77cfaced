"""What nvidia-smi says, what it means for a place, and how a trainer is started on several GPUs."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cast
from tests.training import fake_lab
from tests.training.background import Background, until
from tests.training.making import empty_queue, queued, reload
from training import forecast
from training.models import Slot
from training.worker import duty, inventory, outcome, trainer
from training.worker.inventory import Machine

TWO = """\
1, NVIDIA H200, 143771, 12, 31, 0
0, NVIDIA H200, 143771, 90123, 64, 2
"""
OLD = "0, NVIDIA GeForce GTX 1080, 8192, 5, 40, [N/A]\n"


def test_gpus_are_read_in_the_order_of_their_index() -> None:
    assert inventory.parse(TWO) == [
        Machine("gpu", "NVIDIA H200", 143771, 90123, 64, 2),
        Machine("gpu", "NVIDIA H200", 143771, 12, 31, 0),
    ]


@pytest.mark.parametrize(
    "text", ["", "No devices were found\n", "NVIDIA-SMI has failed because …\n", "0, half a line\n"]
)
def test_what_is_no_gpu_is_left_out(text: str) -> None:
    assert inventory.parse(text) == []


@pytest.mark.parametrize(
    ("machine", "busy", "health", "why"),
    [
        (Machine("gpu", "g", 1000, 10, 40, 0), False, "good", ""),
        (Machine("gpu", "g", 1000, 900, 40, 0), False, "unwell", "900 of 1,000 MiB"),
        (Machine("gpu", "g", 1000, 900, 40, 0), True, "good", ""),
        (Machine("gpu", "g", 1000, 10, 40, 3), False, "unwell", "3 uncorrected memory errors"),
        (Machine("gpu", "g", 1000, 10, 95, 0), True, "unwell", "95 °C"),
        (inventory.parse(OLD)[0], False, "unknown", "counts no memory errors"),
        (Machine("gpu", "g", None, None, None, 0), False, "unknown", "does not say"),
        (Machine("cpu", "c", 1000, 999, cores=2), False, "good", ""),
    ],
)
def test_a_machines_health_is_told_from_what_it_says(machine: Machine, busy: bool, health: str, why: str) -> None:
    verdict = machine.verdict(busy=busy)
    assert verdict[0] == health and why in verdict[1]
    assert machine.as_dict(busy=busy)["health"] == health


def test_a_host_without_nvidia_smi_has_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory.shutil, "which", lambda name: None)
    (machine,) = inventory.machines(cuda=True)
    assert machine.kind == "cpu" and machine.memory_mib and machine.cores
    assert inventory.model_name("processor\t: 0\nmodel name\t: A Fast One\nmodel name\t: another\n") == "A Fast One"


def test_a_place_sees_the_gpu_of_its_number_alone() -> None:
    assert inventory.visible([1], count=4, own=None) == "1"
    assert inventory.visible([3, 0], count=4, own=None) == "0,3"
    assert inventory.visible([1], count=2, own="GPU-a,GPU-b") == "GPU-b", "what the worker itself was given"
    assert inventory.visible([5], count=2, own=None) == "1", "more places than GPUs share them"
    assert inventory.visible([0], count=2, own="") == "0"


@pytest.mark.parametrize(
    ("status", "said", "fault", "code"),
    [
        (2, {"code": "bad_data", "message": "Column 'x' is empty."}, "data", "bad_data"),
        (3, {"code": "diverged", "message": "It diverged."}, "user", "diverged"),
        (4, None, "memory", "out_of_memory"),
        (5, None, "platform", "scratch"),
        (1, {"code": "internal", "message": "Traceback"}, "platform", "internal"),
        (-11, None, "platform", "killed"),
        (0, None, "platform", "silent"),
        (75, None, "", "stopped"),
    ],
)
def test_an_exit_status_says_whose_fault_it_was(
    status: int, said: dict[str, str] | None, fault: str, code: str
) -> None:
    end = outcome.classify(status, done=None, error=said, killed_by_kernel=False)
    assert (end.fault, end.code) == (fault, code)
    assert "Traceback" not in end.message


def test_what_was_stopped_for_too_much_says_how_much_and_what_to_do() -> None:
    excess = outcome.Excess("out_of_memory", 3_200_000_000, 2_000_000_000)
    end = outcome.classify(-9, done=None, error=None, killed_by_kernel=False, excess=excess)
    assert (end.kind, end.fault) == ("failed", "memory")
    assert "used 3.2 GB, and it may use 2.0 GB. Lower batch_size" in end.message
    killed = outcome.classify(-9, done=None, error=None, killed_by_kernel=True, peak=1_500_000_000)
    assert (killed.code, "1.5 GB" in killed.message) == ("out_of_memory", True)
    late = outcome.out_of_time(2.0, -15)
    assert (late.fault, late.code) == ("time", "timeout") and "2 hours. Use fewer rows" in late.message


SMI = """#!/bin/sh
echo asked >> {log}
echo "0, NVIDIA H200, 143771, $(wc -l < {log})000, 64, 0"
"""


@pytest.mark.slow
def test_a_place_goes_on_saying_how_its_gpu_is_while_a_run_lasts(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log, command = tmp_path / "asked", tmp_path / "nvidia-smi"
    command.write_text(SMI.format(log=log))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(inventory, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(duty, "REPORT_SECONDS", 0.1)
    monkeypatch.setattr(trainer, "MODULE", "tests.training.fake_lab")
    monkeypatch.setattr(trainer, "CODE", ("tests",))
    settings.TRAINING_SLOTS, settings.TRAINING_HEARTBEAT_SECONDS = 1, 1
    empty_queue()
    job = queued(cast.owner, seed=fake_lab.SLOW)
    monkeypatch.setattr(forecast, "device", lambda: "cuda-bf16")
    settings.TRAINING_GPU_CLASS = "cpu"
    worker = Background()

    def used() -> int:
        return int(Slot.objects.get().inventory["used_mib"])

    until(lambda: reload(cast.owner, job.public_id).step > 2)
    first = used()
    until(lambda: used() > first + 2_000)
    assert reload(cast.owner, job.public_id).state == "running"
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    worker.join()
    asked = log.read_text().count("asked")
    assert not [thread for thread in threading.enumerate() if thread.name == "inventory"]
    assert log.read_text().count("asked") == asked, "nobody asks for a host that has nothing to do"
