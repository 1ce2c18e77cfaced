"""What goes wrong for one of several runs in a process leaves the others as they would be alone."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from tests.late import late
from tests.training.lab.grouped import LOGITS, Cast
from tests.training.lab.runs import train_here
from training.lab.errors import BadData, Diverged

torch = late("torch")
group, together = late("training.lab.group"), late("training.lab.together")
checkpoint = late("training.lab.checkpoint")

pytestmark = pytest.mark.slow  # trains models


def test_whoever_fails_fails_alone_and_in_the_same_words(cast: Cast, tmp_path: Path) -> None:
    cast.add("good", epochs=4)
    cast.add("diverging", learning_rate=1e6, epochs=30, patience=0, warmup=0.0)
    cast.add("bad", data=str(tmp_path / "nowhere.parquet"))
    cast.add("misspelt", patiense=3)
    cast.add("other", epochs=5, seed=3)
    cast.run_together()
    for name in ("good", "other"):
        cast.assert_same(name)
    for name, error, status in (("diverging", Diverged, 3), ("bad", BadData, 2), ("misspelt", BadData, 2)):
        assert cast.status(name) == status
        with pytest.raises(error) as alone:
            train_here(cast.alone[name])
        assert cast.events[name][-2] == {"event": "error", "code": error.code, "message": str(alone.value)}


def test_numbers_that_are_not_numbers_stay_in_their_own_rows(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose weights have turned to NaN, and one whose gradient is infinite though its loss is not."""
    real, passes = together.logits_of, 0

    def poisoned(parts: list[Any]) -> list[Any]:
        nonlocal passes
        passes += 1
        if passes == 3:
            with torch.no_grad():
                next(iter(parts[1].learner.parameters.values())).fill_(float("nan"))
        logits: list[Any] = real(parts)
        if passes == 6:  # its root has an endless slope where it is nought
            logits[1] = logits[1] + (logits[1] - logits[1]).sqrt()
        return logits

    monkeypatch.setattr(LOGITS, poisoned)
    cast.add("good", epochs=3)
    cast.add("of-nan", epochs=3)
    cast.add("endless", epochs=3, seed=9)
    cast.add("other", epochs=3, seed=4)
    cast.run_together()
    monkeypatch.undo()
    assert {name: cast.status(name) for name in cast.alone} == {"good": 0, "of-nan": 3, "endless": 3, "other": 0}
    assert "a loss that is not a number" in cast.events["of-nan"][-2]["message"]
    assert "a gradient that is not a number" in cast.events["endless"][-2]["message"]
    for name in ("good", "other"):
        cast.assert_same(name)


def test_a_pass_that_does_not_fit_is_made_one_after_another(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    real, passes = together.logits_of, 0

    def small_machine(parts: list[Any]) -> list[Any]:
        nonlocal passes
        passes += 1
        logits: list[Any] = real(parts)  # everything was drawn by then
        if passes > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return logits

    monkeypatch.setattr(LOGITS, small_machine)
    cast.add("one")
    cast.add("two", seed=2)
    cast.run_together()
    assert passes == 3  # and not tried at every step again
    for name in cast.alone:
        cast.assert_same(name)


def test_one_that_runs_out_of_memory_ends_and_the_rest_go_on_together(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, passes = together.logits_of, []

    def greedy(parts: list[Any]) -> list[Any]:
        passes.append(len(parts))
        if len(passes) == 2:
            glutton = parts[1].learner
            monkeypatch.setattr(glutton, "logits", lambda rows: torch.empty(2**50), raising=False)
            raise RuntimeError("can't allocate memory")
        logits: list[Any] = real(parts)
        return logits

    monkeypatch.setattr(LOGITS, greedy)
    for number in range(3):
        cast.add(f"run-{number}", seed=number)
    cast.run_together()
    assert [cast.status(f"run-{number}") for number in range(3)] == [0, 4, 0]
    assert passes[:3] == [3, 3, 2]
    for name in ("run-0", "run-2"):
        cast.assert_same(name)


def test_a_disk_that_is_full_for_one_is_its_own_trouble(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    cast.add("good", epochs=3)
    cast.add("stuck", checkpoint_seconds=0.0)
    real, output = checkpoint.write_tensors, Path(cast.grouped["stuck"]["output"])

    def full(path: Path, tensors: dict[str, Any]) -> None:
        if path.is_relative_to(output):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, tensors)

    monkeypatch.setattr("training.lab.checkpoint.write_tensors", full)
    cast.run_together()
    cast.assert_same("good")
    assert cast.status("stuck") == 5
    assert cast.events["stuck"][-2]["code"] == "scratch"
