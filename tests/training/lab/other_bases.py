"""Tiny random bases of architectures that are not BERT, as their publishers would save them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.late import late
from tests.training.lab.conftest import FILLER, TOPICS

torch = late("torch")

WORDS = [*FILLER, *(word for topic in TOPICS.values() for word in topic)]
COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def _bert_like_words() -> list[str]:
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]


def _word_pieces(folder: Path) -> int:
    """A WordPiece tokenizer as BERT's descendants have it; returns the size of its vocabulary."""
    letters = sorted({letter for word in WORDS for letter in word})
    pieces = [*_bert_like_words(), *letters, *(f"##{letter}" for letter in letters)]
    words = {word: i for i, word in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(words)


def _byte_pairs(folder: Path) -> int:
    """A byte-level BPE as RoBERTa has it: <s> 0, <pad> 1, </s> 2."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: i for i, word in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(words)


def distilbert(folder: Path) -> Path:
    """Two layers of 32."""
    from transformers import DistilBertConfig, DistilBertModel

    size = _word_pieces(folder)
    return _save(
        folder,
        lambda: DistilBertModel(
            DistilBertConfig(vocab_size=size, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64)
        ),
    )


def roberta(folder: Path) -> Path:
    """As published: saved with a language-model head, so with a prefix and without a pooler."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    size = _byte_pairs(folder)
    return _save(
        folder, lambda: RobertaForMaskedLM(RobertaConfig(vocab_size=size, max_position_embeddings=130, **COMMON))
    )


def modernbert(folder: Path) -> Path:
    """Rotary positions, local and global attention, one stacked matrix for query, key and value."""
    from transformers import ModernBertConfig, ModernBertModel

    size = _word_pieces(folder)
    special = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    wanted = COMMON | special | {"local_attention": 8, "global_attn_every_n_layers": 2, "max_position_embeddings": 64}
    return _save(folder, lambda: ModernBertModel(ModernBertConfig(vocab_size=size, **wanted)))


def mpnet(folder: Path) -> Path:
    """Relative positions beside absolute ones."""
    from transformers import MPNetConfig, MPNetModel

    size = _word_pieces(folder)
    return _save(folder, lambda: MPNetModel(MPNetConfig(vocab_size=size, max_position_embeddings=66, **COMMON)))


def electra(folder: Path) -> Path:
    """Word vectors narrower than the layers."""
    from transformers import ElectraConfig, ElectraModel

    size = _word_pieces(folder)
    wanted = COMMON | {"embedding_size": 16, "max_position_embeddings": 64}
    return _save(folder, lambda: ElectraModel(ElectraConfig(vocab_size=size, **wanted)))


MAKERS: dict[str, Callable[[Path], Path]] = {
    "distilbert": distilbert,
    "roberta": roberta,
    "modernbert": modernbert,
    "mpnet": mpnet,
    "electra": electra,
}


def with_code(folder: Path) -> Path:
    """A base that names a Python file of its own, which would leave a trace if it ran."""
    distilbert(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}}
    path.write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()")
    return folder


def with_pickle(folder: Path) -> Path:
    """A base whose weights are a pickle."""
    distilbert(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def _save(folder: Path, make: Callable[[], torch.nn.Module]) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        make().save_pretrained(str(folder))  # type: ignore[operator]  # every model of transformers has it
    return folder
