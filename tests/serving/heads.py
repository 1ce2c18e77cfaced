"""A live model of every task, each with what plain transformers answered as its record."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from billing.services.entitlements import override_set
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.inference import reference
from tests.inference.artefacts import Made, make, record, record_parity
from tests.inference.test_heads import sigmoid, unit
from tests.inference.test_token_heads import BIO, DOCUMENTS, ENDS, PAIRS, QUERY, TEXTS, token_chances, windows
from tests.serving.made import deployed, publish


def made_for(task: str, folder: Path, **options: object) -> Made:
    """An artefact of the task, with an honest parity file."""
    given = {
        "text-classification": {"labels": 3},
        "multi-label-classification": {"names": ["hate", "threat", "spam"]},
        "regression": {"names": ["stars"]},
        "embeddings": {"labels": 0, "method": "lora"},
        "token-classification": {"names": BIO},
        "question-answering": {"names": ENDS, "spread": 0.2},
        "rerank": {"names": ["relevance"], "pooling": "cls", "dense": True, "spread": 0.1},
    }[task]
    made = make(folder, task=task, temperature=1.0, **({"seed": 51, "max_length": 64} | given | options))  # type: ignore[arg-type]
    short = TEXTS[:2]
    if task == "token-classification":
        record(made, texts=short, tokens=[token_chances(made, text).tolist() for text in short])
    elif task == "question-answering":
        record(made, pairs=PAIRS, logits=[next(windows(made, pair, 64, 0))[1].tolist() for pair in PAIRS])
    elif task == "rerank":
        record(made, pairs=[(QUERY, one) for one in DOCUMENTS], probabilities=scores(made, DOCUMENTS).tolist())
    elif task == "embeddings":
        record_parity(made, short, unit(reference.pooled(made.encoder, short, made.max_length)))
    else:
        record_parity(made, short, expected(task, made, short))
    return made


def expected(task: str, made: Made, texts: list[str]) -> np.ndarray:
    """What a model with a row for each text answers."""
    if task == "text-classification":
        return reference.probabilities(made, texts)
    logits = reference.logits_of(made, texts)
    return logits if task == "regression" else sigmoid(logits)


def scores(made: Made, documents: list[str]) -> np.ndarray:
    """Of a cross-encoder, [documents, 1]."""
    import torch

    model = reference.model_of(made, "BertForSequenceClassification")
    with torch.no_grad():
        rows = [
            model(
                **reference.tokenizer()(
                    QUERY, one, truncation="longest_first", max_length=made.max_length, return_tensors="pt"
                )
            ).logits[0]
            for one in documents
        ]
    return torch.stack(rows).sigmoid().numpy()


def roomy(name: str) -> Person:
    """An owner who may deploy many models."""
    person = make_person(name)
    with tenant_scope(person.tenant.id):
        override_set(limits={"deployments": 100}, reason="a model of every task", created_by="tests")
    return person


def live(person: Person, made: Made, suffix: str = "heads") -> str:
    """Published, deployed and past the parity check: the model's name."""
    version = publish(person, made, suffix=suffix)
    row = deployed(person, version)
    assert row.state == "live", row.reason
    return str(version.model.name)
