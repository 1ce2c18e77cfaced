"""A tiny random Llama with a tokenizer of its own, and rows to teach it with; the real tiny Llama, where it is."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from tests.late import late
from tests.training.lab.runs import ROOT

torch = late("torch")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
NAMES = ["Lily", "Tom", "Ben", "Sue", "Mia", "Max", "Anna", "Sam"]
ANIMALS = ["cat", "dog", "bird", "frog", "fish", "bear", "duck", "fox"]
THINGS = ["ball", "hat", "cake", "kite", "boat", "drum"]


def tiny_llama(folder: Path, *, template: str | None = None) -> Path:
    """Two layers of 32 over bytes, with or without a chat template: a causal base that trains in milliseconds."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    words = {word: i for i, word in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    end = "<|im_end|>" if template else "</s>"
    spoken = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(spoken))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": len(words)}
    shape |= {"bos_token_id": 0, "eos_token_id": words[end], "tie_word_embeddings": True}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = LlamaForCausalLM(LlamaConfig(**shape))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0.0, 0.2)
        model.save_pretrained(str(folder))
    return folder


def real_llama() -> Path:
    """The stories260K Llama of a development checkout; the test is skipped without it."""
    roots = [Path(os.environ["TUNESMITH_DATA_DIR"])] if os.environ.get("TUNESMITH_DATA_DIR") else []
    for root in [*roots, *(parent / "shared" / "data" for parent in ROOT.parents)]:
        if (folder := root / "stories" / "hf_stories260K").is_dir():
            return folder
    pytest.skip("stories260K is not in this checkout (set TUNESMITH_DATA_DIR)")


def gifts(count: int, *, seed: int = 3) -> list[tuple[str, str]]:
    """(prompt, completion) of tiny stories that all end the same way; no two prompts alike."""
    every = [(name, animal, thing) for name in NAMES for animal in ANIMALS for thing in THINGS]
    chosen = random.Random(seed).sample(every, count)
    return [
        (f"{name} saw a {animal} with a {thing}.", f" The {animal} gave {name} the {thing}. The end.")
        for name, animal, thing in chosen
    ]


def talk(prompt: str, completion: str) -> list[dict[str, Any]]:
    """The same as a conversation."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion.strip()}]


def as_jsonl(count: int, *, chat: bool) -> bytes:
    """The same as a file to upload."""
    rows = [{"messages": talk(*row)} if chat else {"prompt": row[0], "completion": row[1]} for row in gifts(count)]
    return "\n".join(json.dumps(row) for row in rows).encode()


def write_dialogues(path: Path, rows: list[Any], splits: list[str] | None = None) -> Path:
    """A dataset version's file: of (prompt, completion) pairs, or of lists of messages."""
    columns: dict[str, Any] = {"row_id": pa.array(range(1, len(rows) + 1), pa.int64())}
    if isinstance(rows[0], tuple):
        for place, name in enumerate(("prompt", "completion")):
            columns[name] = pa.array([row[place] for row in rows], pa.string())
    else:
        columns["messages"] = pa.array([json.dumps(row) for row in rows], pa.string())
        columns["tools"] = pa.array([None] * len(rows), pa.string())
    usual = ["test" if i % 5 == 4 else "validation" if i % 5 == 3 else "train" for i in range(len(rows))]
    columns["split"] = pa.array(splits or usual, pa.string())
    pq.write_table(pa.table(columns), path)
    return path
