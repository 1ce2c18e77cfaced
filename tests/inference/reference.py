"""The plain way to the same answers: transformers in fp32, one text at a time.

torch and transformers load with the first question, not with this module: every worker of a test run collects every
test, and these two take longer than all the rest.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.inference.artefacts import BASE, Made


@cache
def _tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(BASE.folder))


@cache
def _model():
    """Made once, and given other weights for each question: to draw random ones takes longer than all the answers."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig.from_pretrained(str(BASE.folder)), add_pooling_layer=False).eval()


def pooled(weights: dict[str, np.ndarray], texts: list[str], max_length: int, pooling: str = "mean") -> np.ndarray:
    """Mean of the last layer over each text's tokens, or its first ("cls"), [texts, hidden]."""
    import torch

    model = _model()
    state = {key: torch.from_numpy(value) for key, value in weights.items()}
    missing, _ = model.load_state_dict(state, strict=False, assign=True)
    assert not missing
    rows = []
    with torch.no_grad():
        for text in texts:
            batch = _tokenizer()(text, truncation=True, max_length=max_length, return_tensors="pt")
            states = model(**batch).last_hidden_state[0]
            rows.append((states[0] if pooling == "cls" else states.mean(0)).numpy())
    return np.stack(rows)


def logits_of(made: Made, texts: list[str], pooling: str = "mean") -> np.ndarray:
    """What the head gives before any activation, [texts, labels]."""
    vectors = pooled(made.encoder, texts, made.max_length, pooling)
    return (vectors @ made.head["weight"].T + made.head["bias"]) / made.temperature


def probabilities(made: Made, texts: list[str]) -> np.ndarray:
    """What the artefact answers, [texts, labels]."""
    logits = logits_of(made, texts)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def tokenizer():
    """The base's own, of transformers."""
    return _tokenizer()


def model_of(made: Made, kind: str, **config: object):
    """The artefact as `kind` of transformers' classes (its dense layer as BERT's pooler), the temperature left out."""
    import torch
    import transformers

    names = dict(enumerate(made.labels))
    settings = transformers.BertConfig.from_pretrained(
        str(BASE.folder),
        num_labels=len(made.labels),
        id2label=names,
        label2id={v: k for k, v in names.items()},
        **config,
    )
    model = getattr(transformers, kind)(settings).eval()
    part = "qa_outputs" if kind == "BertForQuestionAnswering" else "classifier"
    state = {f"bert.{key}": value for key, value in made.encoder.items() if not key.startswith("pooler.")}
    state |= {f"{part}.{key}": made.head[key] for key in ("weight", "bias")}
    if "dense.weight" in made.head:
        state |= {f"bert.pooler.dense.{key}": made.head[f"dense.{key}"] for key in ("weight", "bias")}
    missing, _ = model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
    assert not missing, missing
    return model
