"""Several runs over one base in one process: each ends as it would have ended alone."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.late import late
from tests.training.lab.conftest import FILLER, TOPICS, topic_rows, write_rows
from tests.training.lab.other_bases import distilbert
from tests.training.lab.runs import Outcome, StopAfter, artefact_tensors, report_of, train_here
from training.lab.errors import BadData, Diverged, Stopped
from training.lab.events import Emitter

torch = late("torch")
group, together = late("training.lab.group"), late("training.lab.together")
checkpoint = late("training.lab.checkpoint")

pytestmark = pytest.mark.slow  # trains models

Settings = Callable[..., dict[str, Any]]
EXACT = 1e-5
LOGITS = "training.lab.together.logits_of"
OF_THE_CLOCK = ("seconds", "wall_seconds", "samples_per_second")


class Cast:
    """Runs by name, each trained alone and once more beside the others."""

    def __init__(self, folder: Path, settings_for: Settings) -> None:
        self._folder, self._settings_for = folder, settings_for
        self.alone: dict[str, dict[str, Any]] = {}
        self.grouped: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}

    def add(self, name: str, **changes: Any) -> None:
        """One more run."""
        config = self._settings_for(method="lora", learning_rate=1e-2) | changes
        self.alone[name] = config | {"output": str(self._folder / name / "alone")}
        self.grouped[name] = config | {"output": str(self._folder / name / "group")}

    def run_together(self, *, looks: int = 10**9) -> None:
        """All of them in one process; each one's events without `job`."""
        paths, out = [], io.StringIO()
        for name, config in self.grouped.items():
            path = self._folder / f"{name}.json"
            path.write_text(json.dumps(config))
            paths.append(str(path))
        try:
            group.run(paths, Emitter(out), StopAfter(looks))
        finally:
            torch.set_flush_denormal(False)
        names = list(self.grouped)
        self.events = {name: [] for name in names}
        for line in out.getvalue().splitlines():
            event = json.loads(line)
            self.events[names[event.pop("job")]].append(event)

    def status(self, name: str) -> int:
        """How a run of the group ended."""
        assert [event["event"] for event in self.events[name]].count("end") == 1
        last = self.events[name][-1]
        assert last["event"] == "end"
        return int(last["status"])

    def assert_same(self, name: str) -> None:
        """Weights to 1e-5, the same report but for the clock, the same story."""
        told = train_here(self.alone[name])
        expected, got = artefact_tensors(self.alone[name]), artefact_tensors(self.grouped[name])
        assert expected.keys() == got.keys()
        for key, tensor in expected.items():
            assert (tensor - got[key]).abs().max() <= EXACT, (name, key)
        reports = [report_of(self.alone[name]), report_of(self.grouped[name])]
        for report in reports:
            for key in OF_THE_CLOCK:
                del report["training"][key]
        assert same(*reports)
        assert self.status(name) == 0
        assert same(without_clock(told), without_clock(self.events[name][:-1]))


def without_clock(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was said, without what differs between any two runs."""
    drop = {"samples_per_second", "path", "manifest_sha256", "artefact", "report"}
    return [{key: value for key, value in event.items() if key not in drop} for event in events]


def same(one: Any, other: Any) -> bool:
    """Equal, floats to 1e-5."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=EXACT, rel=EXACT)
    return bool(one == other)


@pytest.fixture
def cast(tmp_path: Path, settings_for: Settings) -> Cast:
    return Cast(tmp_path, settings_for)


@pytest.fixture(scope="session")
def other_topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels, longer texts, other rows."""
    rng, rows = random.Random(11), []
    for label in ("refund", "login"):
        for i in range(30):
            words = rng.choices(FILLER, k=rng.randint(8, 30)) + rng.sample(TOPICS[label], 3)
            rows.append((" ".join(words), label, ("train", "train", "train", "validation", "test")[i % 5]))
    return write_rows(tmp_path_factory.mktemp("data") / "other.parquet", rows)


@pytest.fixture(scope="session")
def few_topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handful of rows: batches of one text."""
    return write_rows(tmp_path_factory.mktemp("data") / "few.parquet", topic_rows(10, seed=8))


def test_runs_that_differ_in_everything_end_as_they_do_alone(cast: Cast, other_topics: Path, few_topics: Path) -> None:
    cast.add("plain", epochs=3)
    cast.add("wide", data=str(other_topics), lora_rank=32, lora_alpha=8.0, batch_size=5, epochs=2, seed=4)
    cast.add("short", max_length=8, max_steps=3, lora_rank=1)
    cast.add("weighted", class_weights="balanced", schedule="cosine", warmup=0.3, label_smoothing=0.2, seed=5)
    cast.add("single", data=str(few_topics), batch_size=1, weight_decay=0.5)
    cast.run_together()
    for name in cast.alone:
        cast.assert_same(name)


@pytest.mark.parametrize("seed", range(3))
def test_any_mix_of_settings_is_exact(
    cast: Cast, topics: Path, other_topics: Path, few_topics: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.lab.group.pays", lambda tokens, device: True)
    rng = random.Random(seed)
    for number in range(rng.randint(2, 5)):
        cast.add(
            f"run-{number}",
            data=str(rng.choice((topics, other_topics, few_topics))),
            lora_rank=rng.choice((1, 2, 8, 16, 33)),
            lora_alpha=rng.choice((4.0, 16.0)),
            batch_size=rng.randint(1, 24),
            epochs=rng.randint(1, 4),
            seed=rng.randint(0, 10**6),
            learning_rate=rng.choice((1e-3, 1e-2, 3e-2)),
            token_budget=rng.choice((64, 8192)),
            patience=rng.choice((0, 1, 3)),
        )
    cast.run_together()
    for name in cast.alone:
        cast.assert_same(name)


def test_one_that_stops_early_leaves_the_others_at_it(cast: Cast) -> None:
    cast.add("long", epochs=12, patience=0)
    cast.add("early", epochs=60, patience=2)
    cast.run_together()
    for name in cast.alone:
        cast.assert_same(name)
    assert report_of(cast.grouped["early"])["training"]["epochs_run"] < 60


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


def test_a_run_told_to_stop_goes_on_later_alone_and_the_others_at_once(cast: Cast, tmp_path: Path) -> None:
    cast.add("good", epochs=3)
    cast.add("asked", epochs=6, patience=0)
    stop = Path(cast.grouped["asked"]["output"]) / group.STOP_FILE
    stop.parent.mkdir(parents=True)
    real = Emitter.__call__

    def ask_at_step_20(self: Emitter, event: str, **fields: Any) -> None:
        real(self, event, **fields)
        if event == "step" and fields["step"] == 20:
            stop.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Emitter, "__call__", ask_at_step_20)
        cast.run_together()
    cast.assert_same("good")
    assert cast.status("asked") == 75
    point = cast.events["asked"][-2]
    assert point["event"] == "checkpoint"
    stop.unlink()
    resumed = cast.grouped["asked"] | {"resume": point["path"]}
    train_here(resumed)
    train_here(cast.alone["asked"])
    expected, got = artefact_tensors(cast.alone["asked"]), artefact_tensors(resumed)
    assert all((expected[key] - got[key]).abs().max() <= EXACT for key in expected)


def test_a_checkpoint_of_a_run_alone_is_good_in_a_group(cast: Cast) -> None:
    cast.add("broken", epochs=4)
    cast.add("fresh", seed=8)
    with pytest.raises(Stopped):
        train_here(cast.grouped["broken"], looks=20)
    cast.grouped["broken"]["resume"] = str(Path(cast.grouped["broken"]["output"]) / "checkpoints")
    cast.run_together()
    assert next(event for event in cast.events["broken"] if event.get("phase") == "training")["step"] > 0
    cast.assert_same("fresh")
    train_here(cast.alone["broken"])
    expected, got = artefact_tensors(cast.alone["broken"]), artefact_tensors(cast.grouped["broken"])
    assert all((expected[key] - got[key]).abs().max() <= EXACT for key in expected)


def test_a_group_broken_off_again_and_again_ends_as_if_it_had_not_been(cast: Cast) -> None:
    cast.add("one", epochs=3)
    cast.add("two", epochs=2, seed=6, batch_size=7)
    rounds = 0
    while not rounds or any(cast.status(name) for name in cast.grouped):
        cast.run_together(looks=40)
        assert {cast.status(name) for name in cast.grouped} <= {0, 75}
        for config in cast.grouped.values():
            if (points := Path(config["output"]) / "checkpoints").is_dir():
                config["resume"] = str(points)
        rounds += 1
    assert rounds > 1
    for name, config in cast.alone.items():
        train_here(config)
        expected, got = artefact_tensors(config), artefact_tensors(cast.grouped[name])
        assert all((expected[key] - got[key]).abs().max() <= EXACT for key in expected)


def test_in_bf16_a_run_that_measures_in_fp32_leaves_the_base_of_the_others_as_it_was(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.lab.device.has_bf16", lambda device: True)  # slow here, but the same arithmetic
    cast.add("short", precision="bf16", epochs=1)
    cast.add("long", precision="bf16", epochs=3, seed=4)
    cast.run_together()
    for name in cast.alone:
        cast.assert_same(name)


def test_steps_of_a_few_tokens_are_made_alone_because_they_would_round_otherwise(cast: Cast) -> None:
    cast.add("tiny", threads=2, batch_size=1, epochs=2, learning_rate=3e-2, patience=0)
    cast.add("small", threads=2, seed=2)
    cast.add("other", threads=2, seed=3)
    cast.run_together()
    for name in cast.alone:
        cast.assert_same(name)


def test_large_steps_are_not_made_together(cast: Cast, other_topics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred tokens of one and six hundred of another are too many; once the large run has ended, the small ones
    go on in one pass."""
    real, passes = together.logits_of, []

    def count(parts: list[Any]) -> list[Any]:
        passes.append(len(parts))
        logits: list[Any] = real(parts)
        return logits

    monkeypatch.setattr(LOGITS, count)
    cast.add("large", data=str(other_topics), batch_size=36, epochs=2)
    cast.add("small", epochs=3)
    cast.add("other", epochs=3, seed=2)
    cast.run_together()
    assert passes and set(passes) == {2}
    for name in cast.alone:
        cast.assert_same(name)


def test_the_base_lies_in_memory_once(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = together.logits_of, []

    def look(parts: list[Any]) -> list[Any]:
        frozen = [
            {p.data_ptr() for p in part.learner.model.parameters() if not p.requires_grad and p.numel()}
            for part in parts
        ]
        seen.append(all(one == frozen[0] for one in frozen))
        logits: list[Any] = real(parts)
        return logits

    monkeypatch.setattr(LOGITS, look)
    for number in range(3):
        cast.add(f"run-{number}", epochs=1)
    cast.run_together()
    assert seen and all(seen)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "auto"}, "differ in 'precision'"),
        ({"method": "full"}, "differ in 'method'"),
        ({"gpus": 2}, "leave 'gpus' out"),
    ],
)
def test_runs_that_cannot_share_a_process_do_not_begin(cast: Cast, change: dict[str, Any], words: str) -> None:
    cast.add("one")
    cast.add("two", **change)
    with pytest.raises(BadData, match=words):
        cast.run_together()
    assert not Path(cast.grouped["one"]["output"]).exists()


def test_only_lora_shares_a_base(cast: Cast) -> None:
    cast.add("one", method="head")
    cast.add("two", method="head")
    with pytest.raises(BadData, match="Only the method 'lora'"):
        cast.run_together()


def test_a_base_of_transformers_trains_side_by_side_too(
    settings_for: Settings, tmp_path: Path, run_lab: Callable[..., Outcome]
) -> None:
    pytest.importorskip("transformers")
    base = tmp_path / "distil"
    base.mkdir()
    distilbert(base)
    configs = [
        settings_for(method="lora", base=str(base), output=str(tmp_path / f"out-{seed}"), seed=seed, epochs=1)
        for seed in (1, 2)
    ]
    outcome = run_lab(*configs)
    assert outcome.code == 0, outcome.errors
    assert [event["status"] for event in outcome.named("end")] == [0, 0]
    for config in configs:
        got = artefact_tensors(config)
        train_here(config)
        expected = artefact_tensors(config)
        assert all((expected[key] - got[key]).abs().max() <= EXACT for key in expected)


def test_a_group_is_one_process_with_one_stream(
    settings_for: Settings, tmp_path: Path, run_lab: Callable[..., Outcome]
) -> None:
    configs = [settings_for(method="lora", output=str(tmp_path / f"out-{seed}"), seed=seed) for seed in range(3)]
    outcome = run_lab(*configs, configs[0] | {"epochs": 0})
    assert outcome.code == 0, outcome.errors
    assert {event["job"]: event["status"] for event in outcome.named("end")} == {0: 0, 1: 0, 2: 0, 3: 2}
    done = {event["job"]: event["artefact"] for event in outcome.named("done")}
    assert done == {job: str(tmp_path / f"out-{job}" / "artefact") for job in range(3)}
    assert all("job" in event for event in outcome.events)


def test_sigterm_stops_all_with_their_checkpoints(
    settings_for: Settings, tmp_path: Path, start_lab: Callable[..., subprocess.Popen[str]]
) -> None:
    configs = [
        settings_for(method="lora", output=str(tmp_path / f"out-{seed}"), seed=seed, epochs=200, patience=0)
        for seed in range(2)
    ]
    process = start_lab(*configs)
    assert process.stdout is not None
    heard: dict[int, int] = {}
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "step":
            heard[event["job"]] = event["step"]
        if len(heard) == 2 and min(heard.values()) >= 20:
            break
    os.kill(process.pid, signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    outcome = Outcome.of(process.returncode, out, errors)
    assert outcome.code == 0, errors
    assert [event["status"] for event in outcome.named("end")] == [75, 75]
    assert {event["job"] for event in outcome.named("checkpoint")} == {0, 1}
