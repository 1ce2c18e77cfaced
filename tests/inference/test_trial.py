"""Which backend an engine takes: the rule on made-up figures, and one real trial on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from inference import backends, reference, trial
from inference.address import Address
from inference.settings import Settings
from inference.wire import TrialReport
from tests.inference import reference as plain
from tests.inference.artefacts import BASE, GEOMETRY, base_weights
from tests.inference.conftest import running


def figures(name: str, rate: float, difference: float = 0.0, precision: str = "fp32", problem: str = "") -> TrialReport:
    rates = [rate, 2 * rate, 4 * rate] if rate else []
    return TrialReport(name, precision, rates, difference, problem)


def outcomes(*candidates: TrialReport) -> list[tuple[str, str]]:
    return [(one.backend, one.outcome) for one in trial.judge(list(candidates))]


def test_the_fastest_is_chosen() -> None:
    assert outcomes(figures("a", 100), figures("b", 300), figures("c", 200)) == [
        ("b", "chosen"), ("c", "slower"), ("a", "slower"),
    ]  # fmt: skip


def test_the_fastest_is_not_chosen_if_it_answers_something_else() -> None:
    wrong = figures("wrong", 900, difference=0.06, precision="bf16")
    assert outcomes(wrong, figures("right", 100)) == [("right", "chosen"), ("wrong", "too far from the reference")]


def test_of_two_about_as_fast_the_more_exact_is_chosen() -> None:
    rough = figures("rough", 105, difference=0.01, precision="bf16")
    assert outcomes(rough, figures("exact", 100, difference=1e-6))[0] == ("exact", "chosen")
    rough = figures("rough", 150, difference=0.01, precision="bf16")
    assert outcomes(rough, figures("exact", 100, difference=1e-6))[0] == ("rough", "chosen")


def test_what_was_not_measured_to_the_end_cannot_be_chosen() -> None:
    given_up = TrialReport("late", "fp32", [900.0], 0.0, "could not be measured: no time was left")
    assert outcomes(given_up, figures("slow", 10)) == [
        ("slow", "chosen"), ("late", "could not be measured: no time was left"),
    ]  # fmt: skip


def test_the_reference_is_what_transformers_computes() -> None:
    texts = ["My card has not arrived yet", "ok"]
    encodings = plain._tokenizer()(texts, padding=True, return_tensors="np")
    ids, mask = encodings["input_ids"].astype(np.int32), encodings["attention_mask"].astype(np.float32)
    found = reference.encode(base_weights(), GEOMETRY, ids, mask)
    np.testing.assert_allclose(found, plain.pooled(base_weights(), texts, 64), atol=1e-5)


def settings(folder: Path, **options: str) -> Settings:
    return Settings(Address.parse(f"unix:{folder}/socket"), trials=folder / "trials", **options)


@pytest.mark.slow
def test_a_trial_measures_what_is_installed_and_the_next_start_reads_its_result(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(trial, "PATIENCE_S", 60.0)  # a machine busy with other tests is no reason to fail
    name, precision, found = trial.choose(settings(tmp_path), BASE)
    assert {(one.backend, one.precision) for one in found} == {
        (name, precision) for name in backends.installed() for precision in backends.PRECISIONS[name]
    }
    assert (found[0].backend, found[0].precision, found[0].outcome) == (name, precision, "chosen")
    assert len(found[0].rows_per_s) == len(trial.SHAPES)
    assert all(one.difference <= trial.TOLERANCE[one.precision] for one in found)
    assert found[0].difference < 0.02
    (kept,) = (tmp_path / "trials").iterdir()
    other = [msgspec.structs.replace(one, outcome="chosen" if one is found[-1] else "slower") for one in found]
    kept.write_bytes(msgspec.json.encode(other))
    assert trial.choose(settings(tmp_path), BASE)[:2] == (found[-1].backend, found[-1].precision)
    kept.write_bytes(b"{")
    assert trial._kept(kept) is None


def test_a_trial_in_which_somebody_had_no_time_is_repeated_after_an_hour(tmp_path: Path) -> None:
    kept = tmp_path / "file.json"
    late = TrialReport("late", "fp32", [], 0.0, f"could not be prepared: {trial.NO_TIME}")
    for judged in ([figures("a", 1)], [figures("a", 1), late]):
        kept.write_bytes(msgspec.json.encode(judged))
        assert trial._kept(kept) == judged
        os.utime(kept, (0, 0))
        assert trial._kept(kept) == (None if late in judged else judged)


def test_where_nothing_could_be_measured_the_first_backend_computes_as_it_thinks_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "PATIENCE_S", 0.0)
    name, precision, found = trial.choose(settings(tmp_path), BASE)
    assert (name, precision) == (backends.installed()[0], "auto")
    assert {one.rows_per_s == [] and one.outcome.endswith(trial.NO_TIME) for one in found} == {True}


def test_a_library_that_fails_here_is_no_candidate(tmp_path: Path) -> None:
    with trial.Contestant("openvino", ["fp8"], settings(tmp_path), BASE.folder, None) as contestant:
        assert contestant.measure("fp8", 0) == 0.0
        assert "Unknown precision 'fp8'" in contestant.problem


def test_what_the_settings_name_is_taken_without_a_trial(tmp_path: Path) -> None:
    assert trial.choose(settings(tmp_path, backend="torch", precision="fp32"), BASE) == ("torch", "fp32", [])
    assert not (tmp_path / "trials").exists()


@pytest.mark.slow
def test_the_engine_reports_its_trial(tmp_path: Path) -> None:
    kept = tmp_path / trial_file(tmp_path)
    chosen = [TrialReport("torch", "fp32", [1.0, 2.0, 3.0], 0.0, "chosen")]
    kept.write_bytes(msgspec.json.encode(chosen))
    with running("--trials", str(tmp_path)) as started, started.client() as client:
        report = client.health()
    assert (report.backend, report.precision, report.trial) == ("torch", "fp32", chosen)


def trial_file(folder: Path) -> str:
    """The name under which an engine started with nothing but `--trials` keeps its choice."""
    candidates = [(name, precision) for name in backends.installed() for precision in backends.PRECISIONS[name]]
    return f"{trial._key(settings(folder), BASE, candidates)}.json"
