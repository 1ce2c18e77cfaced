"""What the engine answers equals what plain transformers computes, however the batch is mixed."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from inference.client import EngineClient
from inference.errors import BadRequest, NotResident, TooLarge
from tests.inference import reference
from tests.inference.artefacts import BASE, base_weights, make, record_parity
from tests.inference.conftest import TOKEN, running

pytestmark = pytest.mark.slow  # starts real processes

TEXTS = [
    "My card has not arrived yet",
    "ok",
    "Why was I charged twice for the same order last week, and when will the second payment be returned to me?",
    "将来の注文をキャンセルしたい",
    "please reset my password " * 12,
    "",
]


def vectors(answer, name="probabilities"):
    return np.frombuffer(getattr(answer, name), "<f4").reshape(-1, answer.width)


def load(client, tenant, model, made):
    return client.load(tenant=tenant, model=model, folder=str(made.folder), sha256=made.sha256)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("head", {}),
        ("lora", {}),
        ("lora", {"rank": 3, "targets": ("key", "attention_output", "intermediate", "output")}),
        ("full", {}),
    ],
)
def test_each_method_answers_as_a_plain_fp32_forward_does(engine, tmp_path, method, options):
    made = make(tmp_path / "artefact", method, seed=3, **options)
    with engine.client() as client:
        described = load(client, "t1", f"m-{method}-{len(options)}", made)
        answer = client.classify(tenant="t1", model=described.model, texts=TEXTS)
    assert described.labels == made.labels
    assert described.method == method
    np.testing.assert_allclose(vectors(answer), reference.probabilities(made, TEXTS), atol=2e-4)


def test_a_batch_of_many_tenants_answers_as_each_alone(engine, tmp_path):
    plans = [("head", 4, 8), ("lora", 7, 8), ("lora", 3, 16), ("head", 9, 8), ("full", 5, 8), ("lora", 2, 4)]
    plans.append(("lora", 6, 32))
    made = [
        make(tmp_path / str(i), method, labels=labels, rank=rank, seed=i)
        for i, (method, labels, rank) in enumerate(plans)
    ]
    with engine.client() as client:
        for i, artefact in enumerate(made):
            load(client, f"tenant-{i}", "model", artefact)
        before = client.health()

    async def at_once():
        client = EngineClient(engine.address, TOKEN)
        calls = []
        for text in TEXTS:
            calls += [client.classify(tenant=f"tenant-{i}", model="model", texts=[text]) for i in range(len(made))]
            calls.append(client.embed(tenant="someone", base=BASE.name, texts=[text]))
        answers = await asyncio.gather(*calls)
        await client.close()
        return answers

    answers = asyncio.run(at_once())
    width = len(made) + 1
    for i, artefact in enumerate(made):
        rows = np.concatenate([vectors(answer) for answer in answers[i::width]])
        np.testing.assert_allclose(rows, reference.probabilities(artefact, TEXTS), atol=2e-4)
    embedded = np.concatenate([vectors(answer, "vectors") for answer in answers[len(made) :: width]])
    with engine.client() as client:
        after = client.health()
        alone = vectors(client.embed(tenant="someone", base=BASE.name, texts=TEXTS), "vectors")
    np.testing.assert_allclose(embedded, alone, atol=2e-5)
    assert after.rows - before.rows == len(answers)
    assert after.batches - before.batches < len(answers) / 2, "rows of several tenants should share batches"
    sizes = [answer.batch_rows for answer in answers]
    assert max(sizes) > 1 and min(sizes) >= 1, "each answer says how full its batch was"
    assert sum(1 / size for size in sizes) == pytest.approx(after.batches - before.batches), "one text each"
    assert all(answer.queue_us >= 0 for answer in answers) and max(answer.queue_us for answer in answers) > 0


def test_embeddings_are_unit_mean_pooled_vectors(engine):
    with engine.client() as client:
        answer = client.embed(tenant="t1", base=BASE.name, texts=TEXTS)
    rows = reference.pooled(base_weights(), TEXTS, BASE.max_length)
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors(answer, "vectors"), expected, atol=2e-5)
    assert answer.width == 384


def test_a_tuned_model_embeds_with_its_own_weights(engine, tmp_path):
    made = make(tmp_path / "a", "full", seed=11)
    with engine.client() as client:
        load(client, "t1", "own", made)
        answer = client.embed(tenant="t1", model="own", texts=TEXTS[:3])
    rows = reference.pooled(made.encoder, TEXTS[:3], made.max_length)
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors(answer, "vectors"), expected, atol=2e-5)


def test_long_texts_are_cut_and_the_cut_is_reported(engine, tmp_path):
    made = make(tmp_path / "a", max_length=16)
    texts = ["short", "a sentence that is certainly longer than sixteen tokens because it goes on and on and on"]
    with engine.client() as client:
        load(client, "t1", "cut", made)
        answer = client.classify(tenant="t1", model="cut", texts=texts)
        counted = client.count(base=BASE.name, texts=texts)
    assert answer.lengths == counted.lengths
    assert answer.lengths[0] == 3
    assert [length > answer.limit for length in answer.lengths] == [False, True]
    np.testing.assert_allclose(vectors(answer), reference.probabilities(made, texts), atol=2e-4)


def test_another_tenants_model_is_as_unknown_as_one_that_never_was(engine, tmp_path):
    made = make(tmp_path / "a")
    with engine.client() as client:
        load(client, "owner", "secret", made)
        with pytest.raises(NotResident) as foreign:
            client.classify(tenant="stranger", model="secret", texts=["x"])
        with pytest.raises(NotResident):
            client.describe(tenant="stranger", model="secret")
        assert not client.unload(tenant="stranger", model="secret").found
        assert "not in memory" in foreign.value.message
        assert client.unload(tenant="owner", model="secret").found
        with pytest.raises(NotResident):
            client.classify(tenant="owner", model="secret", texts=["x"])


def test_impossible_requests_are_refused_with_a_reason(engine):
    with engine.client() as client:
        with pytest.raises(BadRequest, match="at least one text"):
            client.embed(tenant="t", base=BASE.name, texts=[])
        with pytest.raises(TooLarge, match="2049 texts"):
            client.embed(tenant="t", base=BASE.name, texts=["x"] * 2049)
        with pytest.raises(TooLarge, match="1000001 characters"):
            client.embed(tenant="t", base=BASE.name, texts=["x" * 1_000_001])
        with pytest.raises(BadRequest, match="no base 'nothing'"):
            client.embed(tenant="t", base="nothing", texts=["x"])
        with pytest.raises(BadRequest, match="either a base or a model"):
            client.embed(tenant="t", base=BASE.name, model="m", texts=["x"])


def test_parity_passes_for_what_was_trained_and_fails_for_what_was_not(engine, tmp_path):
    made = make(tmp_path / "right", "lora", seed=5)
    record_parity(made, TEXTS, reference.probabilities(made, TEXTS))
    wrong = make(tmp_path / "wrong", "lora", seed=6)
    record_parity(wrong, TEXTS, reference.probabilities(made, TEXTS))
    with engine.client() as client:
        load(client, "t1", "right", made)
        load(client, "t1", "wrong", wrong)
        good, bad = client.parity(tenant="t1", model="right"), client.parity(tenant="t1", model="wrong")
    assert good.passed
    assert good.n == len(TEXTS)
    assert good.worst < 2e-4
    assert not bad.passed
    assert bad.flips > 0


def test_the_default_precision_stays_within_its_stated_tolerance(tmp_path):
    with running() as started, started.client() as client:
        for method in ("head", "lora", "full"):
            made = make(tmp_path / method, method, seed=8)
            record_parity(made, TEXTS, reference.probabilities(made, TEXTS))
            load(client, "t1", method, made)
            report = client.parity(tenant="t1", model=method)
            assert report.passed, report
        assert client.health().precision in ("bf16", "fp32")
