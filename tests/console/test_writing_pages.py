"""Pages of a model that writes: loss and perplexity in place of labels, and a way to train one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.bases import catalogue
from serving.errors import NotDeployable
from serving.services import deployment_create
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.console import things
from tests.console.pages import signed_in
from tests.data.making import checked_file
from tests.training.lab.causal_bases import as_jsonl
from tests.training.making import usual_file
from tests.training.writing import BASE, list_bases
from training.models import JobEvent

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 260, "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 256,
}  # fmt: skip


@pytest.fixture
def llama(tmp_path: Path, settings: Any) -> Iterator[str]:
    """A base for text generation in the catalogue; its weights are never read here."""
    folder = tmp_path / BASE
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder / "model.safetensors").write_bytes(b"weights")
    tokenizer = catalogue()["all-MiniLM-L6-v2"].folder / "tokenizer.json"
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "[SEP]"}))
    list_bases(tmp_path, settings, {BASE: {"folder": str(folder), "max_length": 256}})
    yield BASE
    catalogue.cache_clear()


def test_the_page_of_a_model_that_writes_shows_perplexity_beside_the_untuned_base(cast: Cast) -> None:
    version = things.made_writer(cast.owner)
    text = cast.owner.browser.get(f"{cast.owner.workspace}/models/{version.model.public_id}/").content.decode()
    for words in ("perplexity", "loss per token", "token accuracy", "Better than the untuned base:", "Hardest rows"):
        assert words in text, words
    for words in ("macro-F1", "Confusion", "Calibration", "Errors to read first"):
        assert words not in text, words
    assert "A prompt of row" in text and "The base has no chat template." in text


def test_lists_and_comparisons_hold_models_of_both_kinds(cast: Cast) -> None:
    writer, labeller = things.made_writer(cast.owner), things.made_model(cast.owner)
    text = cast.owner.browser.get(f"{cast.owner.workspace}/models/").content.decode()
    assert f"{writer.metrics['perplexity']:.3f}" in text and "perplexity" in text and "macro-F1" in text
    page = f"{cast.owner.workspace}/models/compare?a={writer.public_id}&b={labeller.public_id}"
    text = cast.owner.browser.get(page).content.decode()
    assert "perplexity" in text and "macro-F1" in text


@pytest.mark.parametrize("kind", ["better", "worse", "equal_within_interval"])
def test_the_verdict_says_what_the_interval_allows(cast: Cast, kind: str) -> None:
    from console.reports import verdict_of

    low, high, words, tone = {
        "better": (0.1, 0.3, "Better than the untuned base: 0.20 less", "ok"),
        "worse": (-0.3, -0.1, "Worse than the untuned base: 0.20 more", "danger"),
        "equal_within_interval": (-0.1, 0.3, "Cannot be told apart from the untuned base", "warn"),
    }[kind]
    by = (low + high) / 2
    text, found = verdict_of({"verdict": {"metric": "loss", "better_by": by, "low": low, "high": high}}, [])
    assert words in text and found == tone


def test_a_job_that_writes_charts_token_accuracy(cast: Cast) -> None:
    job = things.made_job(cast.owner, state="succeeded", task="text-generation", base=BASE)
    with tenant_scope(cast.owner.tenant.id):
        for seq, data in enumerate(({"step": 5, "train_loss": 2.0}, {"step": 10, "train_loss": 1.0, "valid_loss": 1.1,
                                    "valid_mean_token_accuracy": 0.625}), 1):  # fmt: skip
            JobEvent.objects.create(job=job, seq=seq, type="metrics", message="Step", data=data)
    page = f"{cast.owner.workspace}/jobs/{job.public_id}/"
    text = cast.owner.browser.get(page).content.decode()
    assert "Validation token accuracy is 0.625." in text and "macro-F1" not in text
    lines = cast.owner.browser.get(f"{page}csv?chart=scores").content.decode().splitlines()
    assert lines[0].endswith("valid_mean_token_accuracy") and lines[-1].endswith("0.625")


@pytest.mark.usefixtures("llama")
def test_the_wizard_queues_a_job_on_conversations(cast: Cast) -> None:
    file = checked_file(cast.owner, as_jsonl(30, chat=True), "talks.jsonl").public_id
    page = f"{cast.owner.workspace}/jobs/new"
    text = cast.owner.browser.get(f"{page}?data={file}").content.decode()
    assert file in text and BASE in text and "Text column" not in text
    assert 'value="lora" checked' in text and 'value="full"' not in text and 'value="head"' not in text
    both = {"dataset": file, "method": "full"}
    chosen = cast.owner.browser.get(f"{cast.owner.workspace}/jobs/columns", both | {"model": BASE}).content.decode()
    assert "hx-swap-oob" in chosen and 'value="lora" checked' in chosen and 'value="full"' not in chosen
    both["model"] = "all-MiniLM-L6-v2"
    chosen = cast.owner.browser.get(f"{cast.owner.workspace}/jobs/columns", both).content.decode()
    assert 'value="full" checked' in chosen and 'value="head"' in chosen
    form = {"dataset": file, "model": BASE, "method": "lora", "lane": "standard"}
    stale = cast.owner.browser.post(f"{cast.owner.workspace}/jobs/estimate", form | {"method": "full"})
    assert "about $" in stale.content.decode(), "the base was changed a moment ago, the method not yet"
    estimate = cast.owner.browser.post(f"{cast.owner.workspace}/jobs/estimate", form).content.decode()
    assert "<dt>Tokens</dt>" in estimate and "about $" in estimate, estimate
    refused = cast.owner.browser.post(page, form | {"method": "full"})
    assert refused.status_code == 422 and "trained with lora" in refused.content.decode()
    wrong = cast.owner.browser.post(page, form | {"dataset": usual_file(cast.owner)})
    assert wrong.status_code == 422 and "text-generation trains on conversations" in wrong.content.decode()
    made = cast.owner.browser.post(page, form)
    assert made.status_code == 302, made.content.decode()
    job = made["Location"].rstrip("/").rpartition("/")[2]
    assert cast.owner.api.get(f"/v1/fine_tuning/jobs/{job}").json()["x_task"] == "text-generation"
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
@pytest.mark.usefixtures("llama")
def test_another_base_brings_its_methods_with_it(site: str, chromium: Any, cast: Cast) -> None:
    file = checked_file(cast.owner, as_jsonl(30, chat=True), "talks.jsonl").public_id
    context = chromium.new_context()
    signed_in(context, site, cast.owner)
    page = context.new_page()
    page.goto(f"{site}{cast.owner.workspace}/jobs/new?data={file}")
    methods = page.locator("#methods [name=method]")
    assert methods.evaluate_all("all => all.map(one => one.value)") == ["lora"]
    page.select_option("[name=model]", "all-MiniLM-L6-v2")
    page.check("#methods [value=head]")
    page.select_option("[name=model]", BASE)
    page.locator("#methods [value=head]").wait_for(state="detached")
    assert page.locator("#methods [value=lora]").is_checked() and page.locator("#methods").count() == 1
    page.locator("#estimate").get_by_text("about $").wait_for()
    context.close()


@pytest.mark.usefixtures("llama")
def test_a_dataset_of_conversations_can_be_used_in_a_job_where_a_base_learns_from_it(cast: Cast) -> None:
    version = things.made_dataset_of(cast.owner, as_jsonl(30, chat=True))
    page = f"{cast.owner.workspace}/datasets/{version.dataset.public_id}/"
    assert "Use in a job" in cast.owner.browser.get(page).content.decode()
    wizard = cast.owner.browser.get(f"{cast.owner.workspace}/jobs/new?data={version.public_id}").content.decode()
    assert "<code>messages</code>" in wizard and "messages <code>messages</code>" not in wizard
    sweep = cast.owner.browser.get(f"{cast.owner.workspace}/sweeps/new").content.decode()
    assert BASE not in sweep and version.public_id not in sweep, "sweeps compare classifiers"


def test_a_model_that_writes_may_be_deployed_and_tried(cast: Cast) -> None:
    writer = things.made_writer(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        made = deployment_create(project=cast.owner.project, model=writer.model.name)
        type(made).objects.filter(pk=made.pk).update(
            state="live", max_length=256, parity={"passed": True, "worst": 0.0, "tolerance": 0.001, "texts": 497}
        )
    page = f"{cast.owner.workspace}/deployments/{made.public_id}/"
    text = cast.owner.browser.get(page).content.decode()
    assert "/v1/chat/completions" in text and "/v1/classify" not in text
    assert 'id="call-it"' in text and "Try it" in text and "Compare with its base" in text
    assert "Tokens compared" in text and "Texts compared" not in text
    text = cast.owner.browser.get(f"{cast.owner.workspace}/playground/").content.decode()
    assert "System prompt" in text and "/v1/chat/completions" in text and "Second text" not in text
    form = {"name": "reader", "access": "all", "expires": "never", "once": "a"}
    key = cast.owner.browser.post(f"{cast.owner.workspace}/keys/new", form).content.decode()
    assert "/v1/chat/completions" in key and "/v1/classify" not in key
    odd = things.made_writer(cast.owner, suffix="odd")
    with tenant_scope(cast.owner.tenant.id):
        type(odd.model).objects.filter(pk=odd.model.pk).update(task="text-classification")
        with pytest.raises(NotDeployable):
            deployment_create(project=cast.owner.project, model=odd.model.name)
