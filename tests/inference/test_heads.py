"""What models answer beside one label of many: several labels, quantities, vectors of any length, and their pooling."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from inference import parity
from inference.catalogue import DEFAULT_BASE
from inference.client import EngineClient
from inference.errors import BadDimensions, BadRequest
from tests.inference import reference
from tests.inference.artefacts import base_weights, make, record_parity
from tests.inference.conftest import TOKEN
from tests.inference.test_serving_path import TEXTS, load, vectors


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "method", "labels", "pooling", "answer"),
    [
        ("multi-label-classification", "lora", 4, "mean", sigmoid),
        ("multi-label-classification", "head", 1, "cls", sigmoid),
        ("regression", "head", 1, "mean", lambda values: values),
        ("regression", "full", 3, "cls", lambda values: values),
    ],
)
def test_each_task_answers_as_a_plain_fp32_forward_does(engine, tmp_path, task, method, labels, pooling, answer):
    made = make(tmp_path / "a", method, labels=labels, task=task, pooling=pooling, seed=21)
    expected = answer(reference.logits_of(made, TEXTS, pooling))
    record_parity(made, TEXTS, expected)
    with engine.client() as client:
        described = load(client, "t1", f"{task}-{method}", made)
        found = vectors(client.classify(tenant="t1", model=described.model, texts=TEXTS))
        report = client.parity(tenant="t1", model=described.model)
    assert described.task == task
    assert described.labels == made.labels
    np.testing.assert_allclose(found, expected, atol=5e-4)
    assert report.passed, report


@pytest.mark.slow
def test_an_embedding_model_has_vectors_and_no_labels(engine, tmp_path):
    made = make(tmp_path / "a", "lora", labels=0, task="embeddings", pooling="cls", seed=22)
    expected = unit(reference.pooled(made.encoder, TEXTS, made.max_length, "cls"))
    record_parity(made, TEXTS, expected)
    with engine.client() as client:
        load(client, "t1", "vectors", made)
        found = vectors(client.embed(tenant="t1", model="vectors", texts=TEXTS), "vectors")
        assert client.parity(tenant="t1", model="vectors").passed
        with pytest.raises(BadRequest, match="gives vectors and knows no labels"):
            client.classify(tenant="t1", model="vectors", texts=TEXTS)
    np.testing.assert_allclose(found, expected, atol=5e-5)


@pytest.mark.slow
def test_rows_of_both_poolings_and_of_several_lengths_share_a_batch(engine, tmp_path):
    made = make(tmp_path / "first", "lora", labels=0, task="embeddings", pooling="cls", seed=23)
    with engine.client() as client:
        load(client, "t1", "first", made)

    async def at_once():
        client = EngineClient(engine.address, TOKEN)
        calls = [client.embed(tenant="t1", model="first", texts=[text]) for text in TEXTS]
        calls += [client.embed(tenant="t2", base=DEFAULT_BASE, texts=TEXTS, dimensions=size) for size in (1, 7, 384)]
        answers = await asyncio.gather(*calls)
        await client.close()
        return [vectors(answer, "vectors") for answer in answers]

    *first, one, seven, all_of_it = asyncio.run(at_once())
    rows = reference.pooled(made.encoder, TEXTS, made.max_length, "cls")
    np.testing.assert_allclose(np.concatenate(first), unit(rows), atol=5e-5)
    rows = reference.pooled(base_weights(), TEXTS, 256)
    for found, size in ((one, 1), (seven, 7), (all_of_it, 384)):
        np.testing.assert_allclose(found, unit(rows[:, :size]), atol=5e-5)


@pytest.mark.slow
def test_a_length_that_the_model_does_not_have_is_refused(engine):
    with engine.client() as client:
        for size in (-1, 385):
            with pytest.raises(BadDimensions, match="384 numbers: 'dimensions' must be from 1 to 384"):
                client.embed(tenant="t1", base=DEFAULT_BASE, texts=TEXTS, dimensions=size)


def test_a_changed_label_is_a_flip_only_where_it_was_clear() -> None:
    task = "multi-label-classification"
    expected = np.array([[0.9, 0.501], [0.1, 0.2]], np.float32)
    assert parity.compare(task, np.array([[0.9, 0.499], [0.1, 0.2]], np.float32), expected, 0.01)[2] == 0
    assert parity.compare(task, np.array([[0.4, 0.501], [0.6, 0.7]], np.float32), expected, 0.01)[2] == 2


def test_a_large_quantity_may_differ_by_its_share() -> None:
    expected = np.array([[1000.0], [0.5]], np.float32)
    worst, _, flips = parity.compare("regression", np.array([[1001.0], [0.5]], np.float32), expected, 0.002)
    assert (round(worst, 4), flips) == (0.001, 0)
    assert parity.compare("regression", np.array([[1000.0], [0.6]], np.float32), expected, 0.002)[0] > 0.09
