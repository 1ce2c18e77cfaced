"""The recipe for text generation: what it learns, leaves behind, and how it stops and goes on."""

import asyncio
import hashlib
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.chat import read_voice, render
from inference.client import EngineClient
from inference.wire import Sampling
from tests.inference.conftest import TOKEN, running
from tests.late import late
from tests.training.lab.causal_bases import CHATML, gifts, real_llama, talk, tiny_llama, write_dialogues
from tests.training.lab.runs import Outcome, artefact_tensors, report_of, train_here
from training.lab.config import config_from
from training.lab.data import read_tokenizer
from training.lab.errors import BadData, Diverged, Stopped
from training.lab.estimate import estimate, measure

torch, safetensors = late("torch"), late("safetensors.torch")

pytestmark = pytest.mark.slow

Run = Callable[..., Outcome]
Settings = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"), template=CHATML)


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 conversations: 60 to train on, 20 each to validate and test."""
    rows = [talk(*row) for row in gifts(100)]
    return write_dialogues(tmp_path_factory.mktemp("talks") / "talks.parquet", rows)


@pytest.fixture
def settings(tmp_path: Path, base: Path, talks: Path) -> Settings:
    def make(**changes: Any) -> dict[str, Any]:
        config = {"task": "text-generation", "data": str(talks), "base": str(base), "base_name": "tiny-llama"}
        config |= {"method": "lora", "output": str(tmp_path / "out"), "epochs": 2, "batch_size": 12}
        config |= {"device": "cpu", "precision": "fp32", "threads": 1, "bootstrap": 100}
        return config | changes

    return make


def tuned_model(config: dict[str, Any]) -> Any:
    """The base with the artefact's adapter added to its weights, by nothing but the published formula."""
    from transformers import AutoModelForCausalLM

    folder = Path(config["output"]) / "artefact"
    described = json.loads((folder / "artefact.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(config["base"], dtype=torch.float32).eval()
    tensors = safetensors.load_file(folder / "adapter.safetensors")
    lora = described["lora"]
    with torch.no_grad():
        for target in lora["targets"]:
            update = tensors[f"{target}.B"] @ tensors[f"{target}.A"] * (lora["alpha"] / lora["rank"])
            dict(model.named_modules())[target].weight += update
    return model


def worst_difference(config: dict[str, Any]) -> float:
    """Between what the artefact recorded and what the tuned model says of the same tokens."""
    model, worst = tuned_model(config), 0.0
    sequences = json.loads((Path(config["output"]) / "artefact" / "parity.json").read_text())["sequences"]
    assert 1 <= len(sequences) <= 16
    for one in sequences:
        ids, start = torch.tensor([one["tokens"]]), one["start"]
        assert len(one["tokens"]) <= 256 and len(one["logprobs"]) == len(one["tokens"]) - start
        with torch.no_grad():
            chances = torch.log_softmax(model(ids).logits[0, start - 1 : -1].float(), -1)
        found = chances.gather(1, ids[0, start:, None]).squeeze(1).numpy()
        worst = max(worst, float(np.abs(found - np.array(one["logprobs"])).max()))
    return worst


def test_a_run_leaves_an_adapter_that_answers_better_than_its_base_and_as_was_recorded(
    settings: Settings, run_lab: Run, base: Path
) -> None:
    config = settings(epochs=6)
    outcome = run_lab(config)
    assert outcome.code == 0, outcome.errors
    folder = Path(config["output"]) / "artefact"
    described = json.loads((folder / "artefact.json").read_text())
    told = {key: described[key] for key in ("format", "task", "base", "method", "labels", "pooling", "temperature")}
    assert told == {
        "format": 1, "task": "text-generation", "base": "tiny-llama", "method": "lora", "labels": [],
        "pooling": "none", "temperature": 1.0,
    }  # fmt: skip
    assert described["max_length"] == 256, "the context of the base"
    assert set(described["files"]) == {path.name for path in folder.iterdir()} - {"artefact.json"}
    shapes = {name: list(tensor.shape) for name, tensor in artefact_tensors(config).items()}
    down = "model.layers.0.mlp.down_proj"
    assert shapes[f"adapter.safetensors:{down}.A"] == [8, 48] and shapes[f"adapter.safetensors:{down}.B"] == [32, 8]
    assert len(described["lora"]["targets"]) == 14 and len(shapes) == 28, "every linear layer of the decoder's layers"
    assert worst_difference(config) < 1e-4
    report = report_of(config)
    assert report["verdict"]["metric"] == "loss" and report["verdict"]["text_code"] == "better_than_baseline"
    assert report["test"]["loss"]["high"] < report["baseline"]["loss"]["low"] and report["gate"]["passed"]
    assert report["test"]["perplexity"]["value"] == pytest.approx(np.exp(report["test"]["loss"]["value"]), rel=1e-4)
    assert report["n"] == {"train": 60, "validation": 20, "test": 20}
    found = outcome.named("evaluation")
    assert len(found) == 6 and found[-1]["loss"] < found[0]["loss"]
    assert found[-1]["token_accuracy"] > found[0]["token_accuracy"] and "macro_f1" not in found[-1]


def test_the_engine_serves_what_was_trained(settings: Settings, base: Path, tmp_path: Path) -> None:
    config = settings(epochs=12)
    train_here(config)
    folder = Path(config["output"]) / "artefact"
    digest = hashlib.sha256((folder / "artefact.json").read_bytes()).hexdigest()
    entry = {"folder": str(base), "max_length": 256, "tasks": ["text-generation"]}
    (tmp_path / "bases.json").write_text(json.dumps({"bases": {"tiny-llama": entry}}))
    options = ("--precision", "fp32", "--device", "cpu", "--threads", "1", "--catalogue", str(tmp_path / "bases.json"))
    prompt, completion = gifts(1)[0]
    with running(*options) as engine:
        with engine.client() as client:
            loaded = client.load(tenant="t", model="m", folder=str(folder), sha256=digest)
            assert (loaded.base, loaded.method, list(loaded.labels)) == ("tiny-llama", "lora", [])
            report = client.parity(tenant="t", model="m")
            assert report.passed and report.worst < 1e-3, report

        async def written() -> str:
            client = EngineClient(engine.address, TOKEN)
            try:
                chat = {"messages": talk(prompt, completion)[:1]}
                rendered = await client.render(tenant="t", model="m", chat=chat)
                sampling = Sampling(max_tokens=80, temperature=0.0)
                writing = await client.generate(
                    tenant="t", model="m", prompt=rendered.prompts[0], sampling=sampling, allowed=80
                )
                return "".join([piece.text async for piece in writing])
            finally:
                await client.close()

        text = asyncio.run(written())
    model, tokenizer, voice = tuned_model(config), read_tokenizer(base), read_voice(base)
    asked = render(
        talk(prompt, completion)[:1], template=voice.template, add_generation_prompt=True, special=voice.special
    )
    ids = tokenizer.encode(asked, add_special_tokens=False).ids
    ours = model.generate(torch.tensor([ids]), max_new_tokens=80, do_sample=False, pad_token_id=1)[0].tolist()
    assert text == tokenizer.decode(ours[len(ids) :]) and text.startswith("The ")


def test_the_untuned_base_is_measured_as_transformers_measures_it(settings: Settings, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = settings(max_steps=1)
    train_here(config)
    model, voice, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), read_voice(base), read_tokenizer(base)
    losses: list[float] = []
    for row in gifts(100)[4::5]:
        told = {"template": voice.template, "special": voice.special}
        prompt = render(talk(*row)[:1], add_generation_prompt=True, **told)  # type: ignore[arg-type]
        whole = render(talk(*row), add_generation_prompt=False, **told).rstrip("\n")  # type: ignore[arg-type]
        start = len(tokenizer.encode(prompt, add_special_tokens=False).ids)
        ids = torch.tensor([tokenizer.encode(whole, add_special_tokens=False).ids])
        with torch.no_grad():
            logits = model(ids).logits[0, start - 1 : -1]
        losses += torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="none").tolist()
    assert report_of(config)["baseline"]["loss"]["value"] == pytest.approx(float(np.mean(losses)), abs=1e-5)


def test_prompts_with_completions_train_as_well(settings: Settings, tmp_path: Path) -> None:
    config = settings(data=str(write_dialogues(tmp_path / "pairs.parquet", gifts(60))), epochs=1)
    train_here(config)
    assert report_of(config)["training"]["chat_template"] == ""
    assert worst_difference(config) < 1e-4


def test_a_run_in_the_devices_own_precision_is_recorded_on_the_bases_exact_weights(settings: Settings) -> None:
    config = settings(precision="auto")
    train_here(config)
    assert worst_difference(config) < 1e-4


def test_only_replies_are_learnt_from(settings: Settings, tmp_path: Path) -> None:
    """Whatever a message with weight 0 says, the loss of the others is what counts, and prompts have none."""
    rows = [talk(*row) for row in gifts(60)]
    quiet = [[{"role": "assistant", "content": "x" * 40, "weight": 0}, *row] for row in rows]
    config = settings(data=str(write_dialogues(tmp_path / "quiet.parquet", quiet)), epochs=1)
    train_here(config)
    replies = sum(len(row[1].strip()) + 1 for index, row in enumerate(gifts(60)) if index % 5 < 3)
    assert report_of(config)["training"]["reply_tokens"] == replies, "one token for each byte, and one for each end"


def test_a_killed_run_ends_with_the_very_weights_of_one_left_alone(
    settings: Settings, start_lab: Callable[..., subprocess.Popen[str]], run_lab: Run, tmp_path: Path
) -> None:
    whole = settings(checkpoint_seconds=0.0, epochs=3, output=str(tmp_path / "whole"))
    train_here(whole)
    cut = whole | {"output": str(tmp_path / "cut"), "epochs": 3}
    process = start_lab(cut)
    assert process.stdout is not None
    points = 0
    while points < 3:
        points += json.loads(process.stdout.readline())["event"] == "checkpoint"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    second = cut | {"resume": str(tmp_path / "cut" / "checkpoints"), "output": str(tmp_path / "second")}
    outcome = run_lab(second)
    assert outcome.code == 0, outcome.errors
    assert outcome.named("phase")[3]["step"] >= 3, "it went on where it was"
    ours, theirs = artefact_tensors(second), artefact_tensors(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert report_of(second)["test"] == report_of(whole)["test"]


def test_a_stop_leaves_a_checkpoint_and_a_ceiling_on_steps_holds(settings: Settings, tmp_path: Path) -> None:
    config = settings(max_steps=4, epochs=5)
    events = train_here(config)
    assert events[-1]["event"] == "done" and events[-1]["steps"] == 4
    with pytest.raises(Stopped):
        train_here(settings(epochs=5, output=str(tmp_path / "stopped")), looks=14)
    assert list((tmp_path / "stopped" / "checkpoints").glob("step-*/manifest.json"))


def test_rows_over_the_context_are_told_in_the_report(settings: Settings, tmp_path: Path) -> None:
    rows = gifts(30)
    rows[0], rows[1] = ("Once", " upon a time" * 40), ("Long " * 60, " reply")
    config = settings(data=str(write_dialogues(tmp_path / "long.parquet", rows)), epochs=1)
    train_here(config)
    report = report_of(config)
    assert {limit["code"] for limit in report["limits"]} == {"texts_cut", "rows_silent"}
    assert report["n"]["train"] == 17


def test_an_estimate_counts_what_the_run_trains_on(settings: Settings, base: Path, talks: Path) -> None:
    config = settings(epochs=2)
    work = measure(talks, base, method="lora", task="text-generation")
    assert work.rows == {"train": 60, "validation": 20, "test": 20} and work.max_length == 256
    assert train_here(config)[-1]["trained_tokens"] == 2 * work.tokens["train"]
    planned = estimate(work, epochs=2)
    assert planned.tokens_high == 2 * work.tokens["train"] and 0 < planned.seconds_low <= planned.seconds_high


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "full"}, "'method' is 'full'; text-generation trains with 'lora'"),
        ({"gpus": 2}, "on one device"),
        ({"label_smoothing": 0.1}, "label_smoothing are for text-classification"),
        ({"class_weights": "balanced"}, "class_weights are for text-classification"),
    ],
)
def test_what_only_a_classifier_has_is_refused(settings: Settings, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadData, match=words):
        config_from(settings(**change))


def test_a_base_that_cannot_write_and_a_rate_that_is_too_high_end_as_they_should(
    settings: Settings, tiny_base: Path
) -> None:
    with pytest.raises(BadData, match="no causal language model"):
        train_here(settings(base=str(tiny_base)))
    with pytest.raises(Diverged, match="Lower the learning rate"):
        train_here(settings(learning_rate=1e5, epochs=20))
    with pytest.raises(BadData, match="reads 256 at most"):
        train_here(settings(max_length=512))


def test_runs_that_write_do_not_share_a_base(settings: Settings, run_lab: Run, tmp_path: Path) -> None:
    outcome = run_lab(settings(), settings(output=str(tmp_path / "other")))
    assert outcome.code == 2 and "Only runs of text-classification" in outcome.events[-1]["message"]


@pytest.mark.realdata
def test_the_real_tiny_llama_learns_a_new_ending(settings: Settings, tmp_path: Path) -> None:
    data = write_dialogues(tmp_path / "stories.parquet", gifts(100))
    config = settings(base=str(real_llama()), data=str(data), epochs=6)
    train_here(config)
    report = report_of(config)
    assert report["verdict"]["text_code"] == "better_than_baseline"
    assert report["test"]["perplexity"]["high"] < 1.5 < report["baseline"]["perplexity"]["low"]
    assert worst_difference(config) < 1e-4
    model, tokenizer = tuned_model(config), read_tokenizer(config["base"])
    prompt = "Lily saw a bear with a drum."
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    written = model.generate(ids, max_new_tokens=40, do_sample=False, eos_token_id=[1, 2], pad_token_id=2)[0].tolist()
    assert tokenizer.decode(written) == f"{prompt} The bear gave Lily the drum. The end."
    assert written[-1] == 1, "it has learnt to stop, with the end that the base knows"
