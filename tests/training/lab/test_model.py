"""The encoder is BERT: the same numbers as the reference library, in every form it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.late import late
from training.lab.shape import read_shape

torch = late("torch")
lora, models = late("training.lab.lora"), late("training.lab.model")

pytestmark = pytest.mark.slow  # loads torch


@pytest.fixture
def encoder(tiny_base: Path) -> models.Encoder:
    encoder = models.Encoder(read_shape(tiny_base))
    models.load_base(encoder, models.read_base(tiny_base))
    return encoder.eval()


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[2, 5, 9, 14, 3], [2, 7, 3, 0, 0]])
    return ids, ids > 0


def test_vectors_equal_those_of_the_reference_library(real_base: Path) -> None:
    from transformers import BertModel

    reference = BertModel.from_pretrained(real_base, add_pooling_layer=False, attn_implementation="eager").eval()
    ours = models.Encoder(read_shape(real_base)).eval()
    models.load_base(ours, models.read_base(real_base))
    ids = torch.tensor([[101, 2054, 2003, 2026, 5703, 102], [101, 3105, 102, 0, 0, 0]])
    mask = ids > 0
    with torch.inference_mode():
        theirs = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        mine = ours(ids, mask)
    assert (theirs - mine)[mask].abs().max() < 2e-5


def test_padding_changes_nothing(encoder: models.Encoder) -> None:
    ids, mask = _inputs()
    with torch.inference_mode():
        together = encoder.pooled(ids, mask)[1]
        alone = encoder.pooled(ids[1:, :3], None)[0]
    assert torch.allclose(together, alone, atol=1e-6)


def test_the_saved_state_is_the_base_when_nothing_was_trained(encoder: models.Encoder, tiny_base: Path) -> None:
    base = models.read_base(tiny_base)
    state = models.bert_state(encoder, base)
    assert state.keys() == base.keys()
    assert all(torch.equal(state[name], base[name]) for name in base)


def test_a_trimmed_word_table_is_scattered_back_into_the_whole_one(tiny_base: Path) -> None:
    base, kept = models.read_base(tiny_base), torch.tensor([0, 2, 3, 9])
    encoder = models.Encoder(read_shape(tiny_base), words=4)
    models.load_base(encoder, base, kept)
    encoder.words.weight.data[3] += 1.0
    table = models.bert_state(encoder, base, kept)["embeddings.word_embeddings.weight"]
    original = base["embeddings.word_embeddings.weight"]
    assert torch.allclose(table[9], original[9] + 1.0)
    others = [i for i in range(len(table)) if i != 9]
    assert torch.equal(table[others], original[others])


def test_fresh_adapters_change_nothing(encoder: models.Encoder) -> None:
    ids, mask = _inputs()
    with torch.inference_mode():
        before = encoder.pooled(ids, mask)
        encoder.add_lora(rank=4, alpha=8)
        after = encoder.pooled(ids, mask)
    assert torch.allclose(before, after, atol=1e-6)


def test_adapters_written_by_the_contract_give_the_same_vectors_when_merged(tiny_base: Path) -> None:
    torch.manual_seed(1)
    base, rank, alpha = models.read_base(tiny_base), 4, 8.0
    tuned = models.Encoder(read_shape(tiny_base)).eval()
    models.load_base(tuned, base)
    tuned.add_lora(rank=rank, alpha=alpha)
    for module in tuned.modules():
        if isinstance(module, lora.LoraLinear):
            torch.nn.init.normal_(module.B, std=0.1)
    names = {"query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value"}
    names |= {
        "attention_output": "attention.output.dense",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    }
    merged, adapters = dict(base), models.lora_state(tuned)
    for i in range(2):
        for target, name in names.items():
            delta = adapters[f"layers.{i}.{target}.B"] @ adapters[f"layers.{i}.{target}.A"] * (alpha / rank)
            merged[f"encoder.layer.{i}.{name}.weight"] = merged[f"encoder.layer.{i}.{name}.weight"] + delta
    plain = models.Encoder(read_shape(tiny_base)).eval()
    models.load_base(plain, merged)
    ids, mask = _inputs()
    with torch.inference_mode():
        assert torch.allclose(tuned.pooled(ids, mask), plain.pooled(ids, mask), atol=1e-5)


def test_only_adapters_and_head_are_trained_with_lora(encoder: models.Encoder) -> None:
    encoder.add_lora(rank=4, alpha=8)
    trained = {name for name, p in models.Classifier(encoder, 3).named_parameters() if p.requires_grad}
    assert {name.rsplit(".", 1)[1] for name in trained} == {"A", "B", "weight", "bias"}
    assert {name for name in trained if name.endswith(("weight", "bias"))} == {"head.weight", "head.bias"}


def test_the_head_is_computed_in_fp32_under_autocast(encoder: models.Encoder) -> None:
    model = models.Classifier(encoder, 3)
    ids, mask = _inputs()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(ids, mask).dtype == torch.float32


def test_matrix_parameters_count_what_each_token_is_multiplied_with(real_base: Path) -> None:
    assert read_shape(real_base).matrix_parameters == np.sum([6 * (4 * 384**2 + 2 * 384 * 1536)])
