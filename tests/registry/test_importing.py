"""A head that transformers trained becomes a model of a project, reproduces itself, and nothing unsafe comes along."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from inference import importing
from inference.client import BlockingClient
from inference.errors import BadArtefact
from registry.models import ModelVersion
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.inference import reference
from tests.inference.artefacts import BASE, make
from tests.inference.test_token_heads import BIO, DOCUMENTS, ENDS, PAIRS, QUERY, TEXTS
from tests.serving.heads import roomy, scores
from tests.serving.made import deployed, engine_running

pytestmark = pytest.mark.slow  # starts real processes

KINDS = {
    "token-classification": ("BertForTokenClassification", {"names": BIO}),
    "question-answering": ("BertForQuestionAnswering", {"names": ENDS, "spread": 0.2}),
    "rerank": ("BertForSequenceClassification", {"names": ["LABEL_0"], "dense": True, "spread": 0.1}),
    "multi-label-classification": ("BertForSequenceClassification", {"names": ["a", "b", "c"], "dense": True}),
}


def saved(folder: Path, task: str, method: str = "full", **config: Any) -> Path:
    """What `save_pretrained` leaves of a random head on the base, or on a tuned copy of it."""
    kind, options = KINDS[task]
    made = make(folder / "ours", method, task=task, temperature=1.0, seed=61, pooling="cls", max_length=64, **options)  # type: ignore[arg-type]
    target = folder / "theirs"
    reference.model_of(made, kind, **config).save_pretrained(str(target))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (BASE.folder / name).exists():
            shutil.copy(BASE.folder / name, target / name)
    return target


def imported(person: Person, folder: Path, *more: str) -> ModelVersion:
    """By the command, as an operator runs it."""
    out = StringIO()
    call_command("registry_import", str(folder), "--project", person.project.public_id, *more, stdout=out)
    with tenant_scope(person.tenant.id):
        found: ModelVersion = ModelVersion.objects.select_related("model").get(model__name=out.getvalue().strip())
    return found


def test_each_kind_of_head_is_imported_deployed_and_answers(engines: None, tmp_path: Path) -> None:
    person = roomy("ada")
    with engine_running(), BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN) as client:

        def live(task: str, method: str, *more: str, **config: Any) -> str:
            version = imported(person, saved(tmp_path / task, task, method, **config), *more)
            assert (version.method, version.model.task, version.job_id) == (method, task, None)
            row = deployed(person, version)
            assert row.state == "live", row.reason
            assert row.parity["passed"] and row.parity["texts"] >= 3 and row.parity["worst"] < 1e-3
            return version.id.hex

        tenant = person.tenant.id.hex
        model = live("token-classification", "head", "--base", BASE.name, "--suffix", "ner")
        assert any(client.tag(tenant=tenant, model=model, texts=TEXTS).entities)
        model = live("question-answering", "full")
        assert client.ask(tenant=tenant, model=model, pairs=PAIRS).spans[0]
        model = live("rerank", "full", "--task", "rerank", "--max-length", "48")
        found = client.rank(tenant=tenant, model=model, query=QUERY, texts=DOCUMENTS)
        made = make(tmp_path / "same", "full", names=["LABEL_0"], dense=True, spread=0.1, seed=61, max_length=48)
        expected = scores(made, DOCUMENTS)
        np.testing.assert_allclose(np.frombuffer(found.probabilities, "<f4")[:, None], expected, atol=1e-3)
        model = live("multi-label-classification", "head", problem_type="multi_label_classification")
        assert client.classify(tenant=tenant, model=model, texts=["a"]).width == 3


def test_an_artefact_of_our_own_is_taken_as_it_is(engines: None, tmp_path: Path) -> None:
    person = make_person("ada")
    made = make(tmp_path / "a", "lora", labels=0, task="embeddings")
    version = imported(person, made.folder)
    assert (version.model.task, version.labels, version.method) == ("embeddings", [], "lora")
    with pytest.raises(CommandError, match="task is embeddings, not rerank"):
        imported(person, made.folder, "--task", "rerank")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("hf"), "rerank", "head")


def _write(name: str, data: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data)


def _config(**changes: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _tokens(folder: Path) -> None:
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    found["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(found))


def _link(folder: Path) -> None:
    (folder / "more.json").symlink_to("/etc/hostname")


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a pickle beside the weights": (_write("pytorch_model.bin", b"\x80\x04N."), "can run code"),
    "python": (_write("modeling.py", b"print()"), "can run code"),
    "a link": (_link, "is a link"),
    "code of its own": (_config(auto_map={"AutoModel": "x.y"}), "code of its own"),
    "another class": (_config(architectures=["BertForMaskedLM"]), "what can be taken"),
    "another encoder": (_config(num_hidden_layers=5), "sizes are not those"),
    "other tokens": (_tokens, "differ in normalizer"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
    "weights that are not": (_write("model.safetensors", b"\x80\x04N." * 9), "not a safetensors file"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "lacks tokenizer.json"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_folder_that_is_not_safe_or_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[Path], Any], words: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    change(copy)
    with pytest.raises(BadArtefact, match=words):
        source = importing.read(copy)
        importing.convert(source, tmp_path / "target", BASE, importing.task_of(source, "rerank"))


def test_a_refusal_is_told_on_the_command_line(engines: None, folder: Path, tmp_path: Path) -> None:
    person = make_person("ada")
    with pytest.raises(CommandError, match="head with one label can be for rerank, regression, multi-label"):
        imported(person, folder)
    with pytest.raises(CommandError, match="is not a folder"):
        imported(person, tmp_path / "nowhere")
    with pytest.raises(CommandError, match="There is no project"):
        call_command("registry_import", str(folder), "--project", "proj_00000000000000000000000000")
    with pytest.raises(CommandError, match="nobody"):
        imported(person, folder, "--base", "nobody")


def test_a_head_of_several_labels_says_what_it_is_for(folder: Path) -> None:
    found = importing.read(folder)
    several = importing.Source(
        folder, found.kind, found.config | {"id2label": {}}, {"classifier.weight": np.zeros((3, 384), np.float32)}
    )
    assert importing.task_of(several) == "text-classification"
    assert importing.task_of(several, "regression") == "regression"
    with pytest.raises(BadArtefact, match="not rerank"):
        importing.task_of(several, "rerank")
