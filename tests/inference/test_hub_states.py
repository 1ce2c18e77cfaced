"""Bases that are not BERT give every token's vector as well, with adapters, and read pairs as their library does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from inference import backends
from inference.adapters import Adapter, Stacker
from inference.artefact import LoraSpec
from inference.encoder import mean
from inference.geometry import adapter_shapes
from tests.training.lab.other_bases import distilbert, electra, roberta

pytestmark = pytest.mark.slow  # imports torch and transformers


@pytest.mark.parametrize("base", [distilbert, roberta, electra])
def test_every_tokens_vector_is_that_of_the_library(base: Callable[[Path], Path], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    folder = base(tmp_path)
    encoder = backends.hub(device="cpu", precision="fp32").encoder(folder)
    pairs = [("where is it", "it is here"), ("who", "nobody knows where it is now")]
    encodings = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(pairs)
    width = max(len(one.ids) for one in encodings)
    ids, types, mask = (np.zeros((2, width), kind) for kind in (np.int32, np.int32, np.float32))
    for row, one in enumerate(encodings):
        ids[row, : len(one.ids)], types[row, : len(one.ids)], mask[row, : len(one.ids)] = one.ids, one.type_ids, 1
    plain = AutoModel.from_pretrained(str(folder), use_safetensors=True).eval()
    told = getattr(plain.config, "type_vocab_size", 0) > 1 and bool(types.any())
    found = encoder.states(ids, mask, None, types)
    for row, one in enumerate(encodings):
        given = {"input_ids": torch.tensor([one.ids])}
        if told:
            given["token_type_ids"] = torch.tensor([one.type_ids])
        with torch.no_grad():
            expected = plain(**given).last_hidden_state[0].numpy()
        np.testing.assert_allclose(found[row, : len(one.ids)], expected, atol=2e-4)
    untyped = encoder.states(ids, mask, None)
    assert (np.abs(untyped - found)[mask.astype(bool)].max() > 1e-3) == told, "types change what tells them apart"
    np.testing.assert_allclose(mean(untyped, mask), encoder.encode(ids, mask, None), atol=2e-5)
    sizes, rng = encoder.geometry, np.random.default_rng(1)
    spec = LoraSpec(4, 8.0, list(sizes.targets[:2]))
    shapes = adapter_shapes(sizes, spec.targets, spec.rank)
    tensors = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    plan = Stacker(sizes).plan([Adapter.build(spec, tensors, sizes), None])
    adapted = encoder.states(ids, mask, plan)
    assert np.abs(adapted[0] - untyped[0]).max() > 1e-3
    np.testing.assert_allclose(adapted[1], untyped[1], atol=2e-5)
    np.testing.assert_allclose(mean(adapted, mask), encoder.encode(ids, mask, plan), atol=2e-5)
