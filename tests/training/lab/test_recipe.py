"""The recipe from rows to artefact, in this process: methods, resuming, report, limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from tests.late import late
from tests.training.lab.conftest import topic_rows, write_rows
from tests.training.lab.runs import artefact_tensors, report_of, train_here
from training.lab.errors import BadData, Diverged, Stopped
from training.lab.shape import read_shape

torch, safetensors = late("torch"), late("safetensors.torch")
calibration, models = late("training.lab.calibration"), late("training.lab.model")
neighbours = late("training.lab.neighbours")

pytestmark = pytest.mark.slow  # trains models

Settings = Callable[..., dict[str, Any]]
METHODS = ("full", "lora", "head")


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_writes_a_complete_artefact(settings_for: Settings, method: str) -> None:
    config = settings_for(method=method, epochs=12 if method != "head" else 40, learning_rate=1e-2, patience=0)
    events = train_here(config)
    folder = Path(events[-1]["artefact"])
    names = {path.name for path in folder.iterdir()}
    extra = {"full": {"encoder.safetensors"}, "lora": {"adapter.safetensors"}, "head": set()}[method]
    always = {"artefact.json", "head.safetensors", "parity.json", "report.json", "config.json", "metrics.jsonl"}
    always |= {"neighbours.safetensors"}
    assert names == always | extra
    artefact = json.loads((folder / "artefact.json").read_text())
    assert artefact["labels"] == ["delivery", "login", "refund"]
    assert (artefact["lora"] is None) == (method != "lora")
    for name, entry in artefact["files"].items():
        data = (folder / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry["sha256"], entry["bytes"])
    assert set(artefact["files"]) == names - {"artefact.json"}
    report = report_of(config)
    assert report["test"]["accuracy"]["value"] > 0.8
    assert [curve["label"] for curve in report["pr"]["classes"]] == report["labels"]
    assert {curve["chosen"]["from"] for curve in report["pr"]["classes"]} == {"validation"}


@pytest.mark.parametrize("method", METHODS)
def test_the_artefact_alone_reproduces_the_parity_probabilities(
    settings_for: Settings, tiny_base: Path, method: str
) -> None:
    config = settings_for(method=method, precision="auto")
    train_here(config)
    folder = Path(config["output"]) / "artefact"
    artefact, parity = (json.loads((folder / name).read_text()) for name in ("artefact.json", "parity.json"))
    encoder = models.Encoder(read_shape(tiny_base)).eval()
    models.load_base(
        encoder,
        safetensors.load_file(folder / "encoder.safetensors") if method == "full" else models.read_base(tiny_base),
    )
    if method == "lora":
        _load_adapter(encoder, safetensors.load_file(folder / "adapter.safetensors"), artefact["lora"])
    head, tokenizer = (
        safetensors.load_file(folder / "head.safetensors"),
        Tokenizer.from_file(str(tiny_base / "tokenizer.json")),
    )
    tokenizer.no_padding()
    tokenizer.enable_truncation(artefact["max_length"])
    for text, expected in zip(parity["texts"], parity["probabilities"], strict=True):
        with torch.inference_mode():
            pooled = encoder.pooled(torch.tensor([tokenizer.encode(text).ids]), None)
        logits = (pooled @ head["weight"].T + head["bias"]).numpy()
        assert np.abs(calibration.softmax(logits, artefact["temperature"])[0] - expected).max() < 1e-4


def _load_adapter(encoder: models.Encoder, adapter: dict[str, torch.Tensor], lora: dict[str, Any]) -> None:
    encoder.add_lora(rank=lora["rank"], alpha=lora["alpha"])
    for i, layer in enumerate(encoder.layers):
        for name, parts in (("qkv", ("query", "key", "value")), *((t, (t,)) for t in lora["targets"][3:])):
            module = getattr(layer, name)
            module.A.data = torch.cat([adapter[f"layers.{i}.{part}.A"] for part in parts])
            module.B.data = torch.stack([adapter[f"layers.{i}.{part}.B"] for part in parts])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("looks", [10, 16, 26])
def test_a_stopped_and_resumed_run_ends_with_the_very_weights_of_one_left_alone(
    settings_for: Settings, tmp_path: Path, method: str, looks: int
) -> None:
    whole = settings_for(method=method, output=str(tmp_path / "whole"))
    train_here(whole)
    broken = settings_for(method=method, output=str(tmp_path / "broken"))
    with pytest.raises(Stopped):
        train_here(broken, looks=looks)
    points = sorted((tmp_path / "broken" / "checkpoints").glob("step-*"))
    torch.manual_seed(999)
    train_here(broken | {"resume": str(points[-1]), "output": str(tmp_path / "second")})
    expected, got = artefact_tensors(whole), artefact_tensors({"output": str(tmp_path / "second")})
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    drop = ("seconds", "wall_seconds", "samples_per_second")
    reports = [report_of(whole), report_of({"output": str(tmp_path / "second")})]
    for report in reports:
        for key in drop:
            del report["training"][key]
    assert reports[0] == reports[1]


def test_a_run_stopped_many_times_still_ends_with_the_same_weights(settings_for: Settings, tmp_path: Path) -> None:
    whole = settings_for(output=str(tmp_path / "whole"))
    train_here(whole)
    config, stops = settings_for(output=str(tmp_path / "again")), 0
    while True:
        try:
            train_here(config, looks=14)
            break
        except Stopped:
            stops += 1
            config["resume"] = str(tmp_path / "again" / "checkpoints")
    assert stops >= 2
    expected, got = artefact_tensors(whole), artefact_tensors(config)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(settings_for: Settings, tmp_path: Path) -> None:
    config = settings_for(checkpoint_seconds=0)
    with pytest.raises(Stopped):
        train_here(config, looks=16)
    newest = max((Path(config["output"]) / "checkpoints").glob("step-*"))
    weights = newest / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 4
    weights.write_bytes(data)
    events = train_here(config | {"resume": str(newest), "output": str(tmp_path / "second")})
    assert [event["code"] for event in events if event["event"] == "warning"] == ["checkpoint_damaged"]
    start = next(event["step"] for event in events if event.get("phase") == "training")
    assert start == int(newest.name.removeprefix("step-")) - 1


def test_when_no_checkpoint_is_good_training_starts_again_and_says_so(settings_for: Settings, tmp_path: Path) -> None:
    config = settings_for()
    with pytest.raises(Stopped):
        train_here(config, looks=14)
    point = max((Path(config["output"]) / "checkpoints").glob("step-*"))
    (point / "manifest.json").write_text("{")
    events = train_here(config | {"resume": str(point), "output": str(tmp_path / "second")})
    assert [e["code"] for e in events if e["event"] == "warning"] == ["checkpoint_damaged", "restarted"]
    assert events[-1]["event"] == "done"


def test_a_checkpoint_does_not_fit_a_changed_config(settings_for: Settings) -> None:
    config = settings_for()
    with pytest.raises(Stopped):
        train_here(config, looks=14)
    with pytest.raises(BadData, match="another configuration"):
        train_here(config | {"resume": config["output"] + "/checkpoints", "learning_rate": 1e-4})


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(settings_for: Settings, tmp_path: Path) -> None:
    runs = [settings_for(output=str(tmp_path / name), seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    for config in runs:
        train_here(config)
    a, b, c = (artefact_tensors(config)["head.safetensors:weight"] for config in runs)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_rate_beyond_reason_is_called_diverged(settings_for: Settings) -> None:
    with pytest.raises(Diverged, match="Lower the learning rate"):
        train_here(settings_for(learning_rate=1e5, epochs=30, patience=0, warmup=0.0))


def test_training_stops_early_and_keeps_the_best_weights(settings_for: Settings) -> None:
    config = settings_for(epochs=60, patience=2, learning_rate=1e-2)
    evaluations = [event for event in train_here(config) if event["event"] == "evaluation"]
    record = report_of(config)["training"]
    assert record["epochs_run"] == len(evaluations) < 60
    scores = [event["macro_f1"] for event in evaluations]
    assert scores[record["best_epoch"] - 1] == max(scores)


def test_max_steps_is_a_ceiling(settings_for: Settings) -> None:
    events = train_here(settings_for(max_steps=5, epochs=50))
    assert events[-1]["steps"] == 5


def test_a_stopped_run_goes_on_beyond_its_ceiling_once_that_is_raised(settings_for: Settings, tmp_path: Path) -> None:
    config = settings_for(max_steps=5, epochs=3, patience=0, checkpoint_seconds=0)
    train_here(config)
    point = sorted((Path(config["output"]) / "checkpoints").glob("step-*"))[-1]
    events = train_here(config | {"resume": str(point), "raised_steps": 8, "output": str(tmp_path / "second")})
    assert int(point.name.removeprefix("step-")) < 5 and events[-1]["steps"] == 8


def test_tokens_of_the_head_method_are_counted_once_however_many_passes(settings_for: Settings) -> None:
    once = train_here(settings_for(method="head", epochs=1))[-1]["trained_tokens"]
    many = train_here(settings_for(method="head", epochs=20, patience=0))[-1]["trained_tokens"]
    full = train_here(settings_for(method="full", epochs=3, patience=0))[-1]["trained_tokens"]
    assert once == many
    assert full == 3 * once


def test_events_tell_the_story_in_order(settings_for: Settings) -> None:
    events = train_here(settings_for())
    phases = [event["phase"] for event in events if event["event"] == "phase"]
    assert phases == ["loading", "tokenising", "baseline", "training", "evaluating", "saving"]
    steps = [event for event in events if event["event"] == "step"]
    keys = {"step", "total_steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "samples_per_second"}
    assert all(keys <= event.keys() for event in steps)
    assert [event["step"] for event in steps] == sorted(event["step"] for event in steps)
    assert steps[-1]["step"] == steps[-1]["total_steps"]
    evaluation = next(event for event in events if event["event"] == "evaluation")
    assert {"step", "epoch", "loss", "accuracy", "macro_f1"} <= evaluation.keys()


def test_the_report_owns_up_to_its_limits(settings_for: Settings, tmp_path: Path) -> None:
    rows = [row for row in topic_rows(40) if not (row[1] == "login" and row[2] == "test")]
    rows += [("what a long tale " * 30, "refund", "test"), ("tickets", "events", "test")]
    config = settings_for(data=str(write_rows(tmp_path / "d.parquet", rows)), max_length=16)
    train_here(config)
    report = report_of(config)
    assert {limit["code"] for limit in report["limits"]} == {"texts_cut", "labels_unseen", "labels_untested"}
    assert next(item for item in report["per_class"] if item["label"] == "login")["n"] == 0
    assert report["test"]["accuracy"]["n"] == report["n"]["test"]
    assert sum(map(sum, report["confusion"])) == report["n"]["test"] - 1


def test_class_weights_and_cosine_are_accepted(settings_for: Settings) -> None:
    config = settings_for(class_weights="balanced", schedule="cosine", epochs=1)
    assert train_here(config)[-1]["event"] == "done"


def test_a_length_beyond_the_base_is_refused(settings_for: Settings) -> None:
    with pytest.raises(BadData, match="the base reads 64 at most"):
        train_here(settings_for(max_length=65))


def test_a_base_of_another_kind_is_refused(settings_for: Settings, tmp_path: Path, tiny_base: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for path in tiny_base.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    raw = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(raw | {"model_type": "llama"}))
    with pytest.raises(BadData, match="lacks weights of llama"):
        train_here(settings_for(base=str(base)))
    (base / "config.json").write_text(json.dumps(raw | {"hidden_size": 64}))
    with pytest.raises(BadData, match="not as its config says"):
        train_here(settings_for(base=str(base)))
    (base / "config.json").write_text(json.dumps(raw))
    (base / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadData, match=r"no readable model\.safetensors"):
        train_here(settings_for(base=str(base)))


def test_the_real_base_learns_intents_from_a_few_rows(settings_for: Settings, real_base: Path) -> None:
    config = settings_for(base=str(real_base), base_name="all-MiniLM-L6-v2", method="head", precision="auto")
    config |= {"epochs": "auto", "batch_size": "auto", "learning_rate": "auto"}
    train_here(config)
    assert report_of(config)["test"]["accuracy"]["value"] > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_the_vectors_of_the_training_rows_are_the_trained_models_own(
    settings_for: Settings, tiny_base: Path, topics: Path, method: str
) -> None:
    config = settings_for(method=method, precision="auto")
    train_here(config)
    folder = Path(config["output"]) / "artefact"
    kept = safetensors.load_file(folder / "neighbours.safetensors")
    rows = [row for row in pq.read_table(topics).to_pylist() if row["split"] == "train"]
    labels = json.loads((folder / "artefact.json").read_text())["labels"]
    assert kept["rows"].tolist() == [row["row_id"] for row in rows]
    assert [labels[place] for place in kept["labels"]] == [row["label"] for row in rows]
    encoder = models.Encoder(read_shape(tiny_base)).eval()
    models.load_base(
        encoder,
        safetensors.load_file(folder / "encoder.safetensors") if method == "full" else models.read_base(tiny_base),
    )
    if method == "lora":
        lora = json.loads((folder / "artefact.json").read_text())["lora"]
        _load_adapter(encoder, safetensors.load_file(folder / "adapter.safetensors"), lora)
    tokenizer = Tokenizer.from_file(str(tiny_base / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for place in range(0, len(rows), 7):
        with torch.inference_mode():
            pooled = encoder.pooled(torch.tensor([tokenizer.encode(rows[place]["text"]).ids]), None)[0]
        assert torch.allclose(kept["vectors"][place].float(), pooled / pooled.norm(), atol=2e-3)


def test_of_too_many_rows_a_seeded_sample_is_kept() -> None:
    every = neighbours.chosen(500, 32, seed=1)
    assert every.tolist() == list(range(500))
    some = neighbours.chosen(50_000, 384, seed=1)
    assert len(some) == len(set(some.tolist())) == neighbours.MAX_ROWS and some.tolist() == sorted(some.tolist())
    assert (
        some.tolist()
        == neighbours.chosen(50_000, 384, seed=1).tolist()
        != neighbours.chosen(50_000, 384, seed=2).tolist()
    )
    assert len(neighbours.chosen(50_000, 4096, seed=1)) * 4096 * 2 <= neighbours.MAX_BYTES


def test_the_report_says_what_abstaining_promises(settings_for: Settings) -> None:
    config = settings_for(method="head", epochs=40, learning_rate=1e-2, patience=0)
    train_here(config)
    table = report_of(config)["abstention"]
    assert table["n"] == report_of(config)["n"]["test"] == table["points"][0]["n"]
    assert table["points"][0]["precision"] == pytest.approx(report_of(config)["test"]["accuracy"]["value"], abs=1e-6)
    assert all(0 <= point["at_least"] <= (point["precision"] or 0) for point in table["points"])
