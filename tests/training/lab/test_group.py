"""Several runs over one base in one process: each ends as it would have ended alone."""

from __future__ import annotations

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
from tests.training.lab.grouped import EXACT, LOGITS, Cast, Settings
from tests.training.lab.other_bases import distilbert
from tests.training.lab.runs import Outcome, artefact_tensors, report_of, train_here
from training.lab.errors import BadData, Stopped
from training.lab.events import Emitter

torch = late("torch")
group, together = late("training.lab.group"), late("training.lab.together")
checkpoint = late("training.lab.checkpoint")

pytestmark = pytest.mark.slow  # trains models


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


def test_steps_of_a_few_tokens_are_made_alone_because_they_would_round_otherwise(cast: Cast, few_topics: Path) -> None:
    # A hundred steps are enough: two threads wait for each other at each, which takes long beside other workers.
    cast.add("tiny", data=str(few_topics), threads=2, batch_size=1, epochs=6, learning_rate=3e-2, patience=0)
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
