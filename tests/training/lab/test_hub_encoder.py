"""Bases that are not BERT train through transformers, and the engine answers for them as training did."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.client import EngineClient
from tests.inference.conftest import TOKEN, EngineProcess, running
from tests.training.lab.conftest import topic_rows, write_rows
from tests.training.lab.other_bases import MAKERS, with_code, with_pickle
from tests.training.lab.runs import ROOT, Outcome, artefact_tensors, report_of, train_here
from training.lab.errors import BadData

pytestmark = pytest.mark.slow

Settings = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def other_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny folder per architecture."""
    root = tmp_path_factory.mktemp("bases")
    for name in MAKERS:
        (root / name).mkdir()
    return {name: make(root / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows, three labels."""
    return write_rows(tmp_path_factory.mktemp("few") / "few.parquet", topic_rows(40))


@pytest.fixture(scope="module")
def engine(other_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """An engine that has the bundled BERT and every base of this file."""
    path = tmp_path_factory.mktemp("catalogue") / "bases.json"
    entries = {name: {"folder": str(folder), "max_length": 512} for name, folder in other_bases.items()}
    path.write_text(json.dumps({"bases": entries}))
    with running("--precision", "fp32", "--device", "cpu", "--threads", "1", "--catalogue", str(path)) as started:
        yield started


def parity_of(engine: EngineProcess, config: dict[str, Any], model: str) -> Any:
    """Load a finished run's artefact and compare serving with training."""
    folder = Path(config["output"]) / "artefact"
    digest = hashlib.sha256((folder / "artefact.json").read_bytes()).hexdigest()
    with engine.client() as client:
        described = client.load(tenant="t", model=model, folder=str(folder), sha256=digest)
        assert (described.base, described.method) == (config["base_name"], config["method"])
        return client.parity(tenant="t", model=model)


@pytest.mark.parametrize(("name", "method"), [("distilbert", "lora"), ("roberta", "full")])
def test_a_base_of_another_architecture_trains_as_a_process_and_serves_with_parity(
    settings_for: Settings, run_lab: Run, other_bases: dict[str, Path], few: Path, engine: EngineProcess,
    name: str, method: str,
) -> None:  # fmt: skip
    config = settings_for(base=str(other_bases[name]), base_name=name, method=method, data=str(few))
    outcome = run_lab(config)
    assert outcome.code == 0, outcome.errors
    folder = Path(config["output"]) / "artefact"
    described = json.loads((folder / "artefact.json").read_text())
    assert described["base"] == name and described["pooling"] == "mean"
    assert {path.suffix for path in folder.iterdir()} == {".json", ".jsonl", ".safetensors"}
    assert report_of(config)["training"]["base"] == name
    report = parity_of(engine, config, f"{name}-{method}")
    assert report.passed and report.worst < 1e-4, report


@pytest.mark.parametrize("method", ["full", "head", "lora"])
@pytest.mark.parametrize("name", ["distilbert", "roberta", "modernbert", "mpnet", "electra"])
def test_every_method_serves_what_it_trained(
    settings_for: Settings, other_bases: dict[str, Path], few: Path, engine: EngineProcess, name: str, method: str
) -> None:
    config = settings_for(base=str(other_bases[name]), base_name=name, method=method, data=str(few), epochs=1)
    train_here(config)
    report = parity_of(engine, config, f"{name}-{method}")
    assert report.passed and report.worst < 1e-4, report
    if method == "full":
        from safetensors.torch import load_file

        before = load_file(other_bases[name] / "model.safetensors")
        after = {key.partition(":")[2]: value for key, value in artefact_tensors(config).items() if "encoder" in key}
        assert any(not np.array_equal(before.get(f"{name}.{key}", before.get(key)), after[key]) for key in after)
    if method == "lora":
        assert any(
            float(value.abs().max()) > 0 for key, value in artefact_tensors(config).items() if key.endswith(".B")
        )


def test_an_adapter_trained_in_the_devices_own_precision_is_served_on_the_bases_exact_weights(
    settings_for: Settings, other_bases: dict[str, Path], few: Path, engine: EngineProcess
) -> None:
    config = settings_for(base=str(other_bases["distilbert"]), base_name="distilbert", method="lora", data=str(few))
    train_here(config | {"precision": "auto"})
    report = parity_of(engine, config, "distilbert-auto")
    assert report.passed and report.worst < 1e-4, report


def test_tenants_with_adapters_and_without_share_batches_and_each_sees_only_its_own(
    settings_for: Settings, other_bases: dict[str, Path], few: Path, engine: EngineProcess, tmp_path: Path
) -> None:
    texts = ["my parcel is late", "i was charged twice", "the login code", "please help"]
    models = []
    for seed, method in enumerate(("lora", "lora", "head", "full")):
        given = {"base": str(other_bases["distilbert"]), "base_name": "distilbert", "data": str(few), "epochs": 1}
        config = settings_for(**given, method=method, seed=seed, lora_rank=4 + seed, output=str(tmp_path / str(seed)))
        train_here(config)
        models.append(f"mixed-{seed}")
        assert parity_of(engine, config, models[-1]).passed

    async def at_once() -> list[Any]:
        client = EngineClient(engine.address, TOKEN)
        calls = [client.classify(tenant="t", model=model, texts=[text]) for text in texts for model in models]
        answers = await asyncio.gather(*calls)
        await client.close()
        return answers

    answers = asyncio.run(at_once())
    for i, model in enumerate(models):
        mixed = np.stack([np.frombuffer(answer.probabilities, "<f4") for answer in answers[i :: len(models)]])
        with engine.client() as client:
            alone = [
                np.frombuffer(client.classify(tenant="t", model=model, texts=[x]).probabilities, "<f4") for x in texts
            ]
        np.testing.assert_allclose(mixed, np.stack(alone), atol=1e-5)


def test_embeddings_come_from_such_a_base_and_lengths_are_its_own(
    other_bases: dict[str, Path], engine: EngineProcess
) -> None:
    texts = ["my parcel is late", "password", "the money please " * 200]
    with engine.client() as client:
        answer = client.embed(tenant="t", base="roberta", texts=texts)
        alone = [client.embed(tenant="t", base="roberta", texts=[text]) for text in texts]
        assert client.embed(tenant="t", base="all-MiniLM-L6-v2", texts=texts).width == 384
    vectors = np.frombuffer(answer.vectors, "<f4").reshape(-1, answer.width)
    assert answer.width == 32 and answer.limit == 128  # RoBERTa's table of 130 positions holds 128 tokens
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for row, single in zip(vectors, alone, strict=True):
        np.testing.assert_allclose(row, np.frombuffer(single.vectors, "<f4"), atol=1e-5)


def test_a_stopped_run_of_such_a_base_resumes_exactly(
    settings_for: Settings, other_bases: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    given = {"base": str(other_bases["distilbert"]), "base_name": "distilbert", "data": str(few), "patience": 0}
    whole = settings_for(**given, output=str(tmp_path / "whole"))
    train_here(whole)
    cut = settings_for(**given, output=str(tmp_path / "cut"))
    with pytest.raises(Exception, match="checkpoint"):
        train_here(cut, looks=14)
    second = cut | {"resume": str(tmp_path / "cut" / "checkpoints"), "output": str(tmp_path / "second")}
    train_here(second)
    expected, got = artefact_tensors(whole), artefact_tensors(second)
    assert all(bool((expected[name] == got[name]).all()) for name in expected)


REFUSED = [(with_code, "brings code of its own"), (with_pickle, "only pytorch_model.bin: a pickle")]


@pytest.mark.parametrize("method", ["full", "head"])
@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_a_base_with_code_or_a_pickle_is_refused_and_nothing_of_it_runs(
    settings_for: Settings, tmp_path: Path, make: Callable[[Path], Path], words: str, method: str
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    make(folder)
    with pytest.raises(BadData, match=words):
        train_here(settings_for(base=str(folder), base_name="bad", method=method))
    assert not (folder / "ran").exists()


def test_a_process_that_refuses_a_base_ends_with_status_2_and_the_reason(
    settings_for: Settings, run_lab: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    with_code(folder)
    outcome = run_lab(settings_for(base=str(folder), base_name="bad"))
    assert (outcome.code, outcome.events[-1]["code"]) == (2, "bad_data"), outcome.errors
    assert REFUSED[0][1] in outcome.events[-1]["message"]
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_encoder_decoder": True}, "an encoder with a decoder"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"transformers_weights": "pytorch_model.bin"}, "another file of weights"),
        ({"model_type": "no-such-thing"}, "cannot load the base"),
        ({"n_layers": 3}, "lacks weights of distilbert"),
        ({"dim": None}, "lacks hidden_size"),
    ],
)
def test_a_base_that_is_not_what_it_says_is_refused_with_the_reason(
    settings_for: Settings, tmp_path: Path, other_bases: dict[str, Path], change: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for path in other_bases["distilbert"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadData, match=words):
        train_here(settings_for(base=str(folder), base_name="odd"))


def test_a_run_on_bert_imports_no_transformers(settings_for: Settings) -> None:
    program = (
        "import sys\n"
        "from training.lab import __main__ as lab\n"
        "status = lab.main(sys.argv[1:])\n"
        "sys.exit(status or 9 * ('transformers' in sys.modules))\n"
    )
    config = settings_for(epochs=1)
    path = Path(config["output"]).parent / "c.json"
    path.write_text(json.dumps(config))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
