"""A BERT encoder, mean pooling and a linear head; weights to and from the Hugging Face names.

The encoder is written out because it pays: query, key and value in one product, attention by plain products
(faster than the fused kernel for the short rows of classification on a CPU), no padding work when a batch has
none, and no import of a whole library at the start of each job. `tests/training/lab/test_model.py` holds it equal
to `transformers.BertModel`.

Full tuning may trim the word table to the tokens that occur in the data: the other rows would get zero gradients,
so leaving them out changes nothing and saves most of the optimiser's memory traffic (`rows_kept`).

Shapes: B texts, L tokens, T = B * L, H hidden size, C classes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.lab.errors import BadData
from training.lab.lora import LoraLinear
from training.lab.shape import Shape

LORA_TARGETS = ("query", "key", "value", "attention_output", "intermediate", "output")


class Layer(nn.Module):
    """One transformer layer over flattened tokens [T, H], normalisation after each half (BERT's order)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden = shape.hidden
        self.heads, self.dropout = shape.heads, shape.dropout
        self.qkv: nn.Module = nn.Linear(hidden, 3 * hidden)
        self.attention_output: nn.Module = nn.Linear(hidden, hidden)
        self.intermediate: nn.Module = nn.Linear(hidden, shape.intermediate)
        self.output: nn.Module = nn.Linear(shape.intermediate, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=shape.epsilon)
        self.output_norm = nn.LayerNorm(hidden, eps=shape.epsilon)

    def forward(self, x: Tensor, mask: Tensor | None, batch: int) -> Tensor:
        """x [T, H] and an additive mask [B, 1, 1, L] (None: no padding) -> [T, H]."""
        mixed = self.attention_output(self.attend(self.qkv(x), mask, batch))
        x = self.attention_norm(x + nn.functional.dropout(mixed, self.dropout, self.training))
        grown = nn.functional.gelu(self.intermediate(x))
        return self.output_norm(x + nn.functional.dropout(self.output(grown), self.dropout, self.training))

    def attend(self, qkv: Tensor, mask: Tensor | None, batch: int) -> Tensor:
        """qkv [T, 3H] and the mask of `forward` -> [T, H]."""
        tokens, width = qkv.shape
        size = width // 3 // self.heads
        q, k, v = qkv.view(batch, -1, 3, self.heads, size).permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, L, size]
        if qkv.device.type != "cpu":
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, None if mask is None else mask.to(q.dtype))
        else:
            scores = torch.matmul(q * (1 / math.sqrt(size)), k.transpose(-1, -2))
            scores = scores if mask is None else scores + mask.to(scores.dtype)
            mixed = torch.matmul(scores.softmax(-1).to(v.dtype), v)
        return mixed.transpose(1, 2).reshape(tokens, width // 3)


class Encoder(nn.Module):
    """Token ids to token vectors."""

    def __init__(self, shape: Shape, *, words: int | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(words or shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.types = nn.Embedding(shape.token_types, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """ids [B, L], mask of real tokens [B, L] or None when all are -> [B, L, H]."""
        x, bias = self.embed(ids), additive(mask)
        for layer in self.layers:
            x = layer(x, bias, len(ids))
        return x.view(*ids.shape, -1)

    def embed(self, ids: Tensor) -> Tensor:
        """ids [B, L] -> what the first layer reads, [T, H]."""
        batch, length = ids.shape
        x = self.norm(self.words(ids) + self.positions.weight[:length] + self.types.weight[0])
        return nn.functional.dropout(x, self.shape.dropout, self.training).view(batch * length, -1)

    def pooled(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Mean of the real tokens' vectors, in fp32: [B, H]."""
        return mean(self(ids, mask), mask)

    def stack(self) -> list[Layer]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def add_lora(self, *, rank: int, alpha: float) -> None:
        """Freeze everything and put adapters on every linear layer."""
        self.requires_grad_(False)
        for layer in self.stack():
            for name, parts in (("qkv", 3), ("attention_output", 1), ("intermediate", 1), ("output", 1)):
                setattr(layer, name, LoraLinear(getattr(layer, name), parts=parts, rank=rank, alpha=alpha))

    def frozen_to(self, dtype: torch.dtype) -> None:
        """Keep the frozen matrices in this type, which saves casting them at every step."""
        for module in self.modules():
            if isinstance(module, LoraLinear):
                module.base.to(dtype)


def additive(mask: Tensor | None) -> Tensor | None:
    """The mask of real tokens [B, L] as what attention adds to its scores, [B, 1, 1, L]."""
    return None if mask is None else torch.where(mask, 0.0, -1e4)[:, None, None, :]


def mean(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Token vectors [B, L, H] and the mask of real ones [B, L] -> their mean in fp32, [B, H]."""
    tokens = tokens.float()
    if mask is None:
        return tokens.mean(dim=1)
    weight = mask[:, :, None].to(tokens.dtype)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1)


class Pooling(Protocol):
    """What a classifier asks of an encoder."""

    shape: Shape

    def pooled(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Mean of the real tokens' vectors, in fp32: [B, H]."""
        ...


class Classifier(nn.Module):
    """Encoder, mean pooling, linear head."""

    def __init__(self, encoder: Pooling, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.shape.hidden, classes)

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Logits [B, C] in fp32."""
        return self.answer(self.encoder.pooled(ids, mask))

    def answer(self, pooled: Tensor) -> Tensor:
        """Pooled vectors [B, H] in fp32 -> logits [B, C] in fp32."""
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled)


def read_base(base: str | Path) -> dict[str, Tensor]:
    """A base's tensors by their BertModel names, in fp32."""
    path = Path(base) / "model.safetensors"
    try:
        raw = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadData("The base has no readable model.safetensors.") from error
    tensors = {name.removeprefix("bert."): tensor for name, tensor in raw.items()}
    return {name: tensor.float() for name, tensor in tensors.items() if tensor.is_floating_point()}


def load_base(encoder: Encoder, tensors: dict[str, Tensor], rows_kept: Tensor | None = None) -> None:
    """Copy a BertModel state dict into the encoder (under its adapters, if any), in fp32."""
    try:
        with torch.no_grad():
            for name, parameter in _bert_names(encoder).items():
                pieces = [tensors[piece] for piece in name]
                value = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
                if name == (_WORDS,) and rows_kept is not None:
                    value = value[rows_kept]
                if value.shape != parameter.shape:
                    raise BadData(f"The base's tensor {name[0]} has shape {list(value.shape)}, not as its config says.")
                parameter.data = value.to(device=parameter.device, dtype=torch.float32, copy=True)
    except KeyError as error:
        raise BadData(f"The base's model.safetensors lacks {error}.") from error


def bert_state(encoder: Encoder, base: dict[str, Tensor], rows_kept: Tensor | None = None) -> dict[str, Tensor]:
    """The encoder as a complete BertModel state dict: the base's tensors with the trained ones in their place."""
    state = dict(base)
    for name, parameter in _bert_names(encoder).items():
        value = parameter.detach().float().cpu()
        if name == (_WORDS,) and rows_kept is not None:
            table = base[_WORDS].clone()
            table[rows_kept] = value
            value = table
        pieces = [value] if len(name) == 1 else list(value.chunk(len(name)))
        state.update({key: piece.contiguous() for key, piece in zip(name, pieces, strict=True)})
    return state


def lora_state(encoder: Encoder) -> dict[str, Tensor]:
    """The adapters by the artefact's names: layers.{i}.{target}.A [rank, in] and .B [out, rank]."""
    state: dict[str, Tensor] = {}
    for i, layer in enumerate(encoder.stack()):
        for module, targets in (("qkv", LORA_TARGETS[:3]), *((name, (name,)) for name in LORA_TARGETS[3:])):
            adapter: LoraLinear = getattr(layer, module)
            for a, b, target in zip(adapter.A.chunk(adapter.parts), adapter.B, targets, strict=True):
                state[f"layers.{i}.{target}.A"] = a.detach().float().cpu().contiguous()
                state[f"layers.{i}.{target}.B"] = b.detach().float().cpu().contiguous()
    return state


_WORDS = "embeddings.word_embeddings.weight"


def _bert_names(encoder: Encoder) -> dict[tuple[str, ...], nn.Parameter]:
    """Each parameter of the encoder under the BertModel name (or the three names stacked in it)."""
    names: dict[tuple[str, ...], nn.Parameter] = {}
    for stems, module in _bert_modules(encoder).items():
        inner = module.base if isinstance(module, LoraLinear) else module
        for kind, parameter in inner.named_parameters(recurse=False):
            names[tuple(f"{stem}.{kind}" for stem in stems)] = parameter
    return names


def _bert_modules(encoder: Encoder) -> dict[tuple[str, ...], nn.Module]:
    """BertModel's stems and the module that holds them."""
    modules: dict[tuple[str, ...], nn.Module] = {
        ("embeddings.word_embeddings",): encoder.words,
        ("embeddings.position_embeddings",): encoder.positions,
        ("embeddings.token_type_embeddings",): encoder.types,
        ("embeddings.LayerNorm",): encoder.norm,
    }
    for i, layer in enumerate(encoder.stack()):
        stem = f"encoder.layer.{i}"
        modules[tuple(f"{stem}.attention.self.{part}" for part in LORA_TARGETS[:3])] = layer.qkv
        modules[(f"{stem}.attention.output.dense",)] = layer.attention_output
        modules[(f"{stem}.attention.output.LayerNorm",)] = layer.attention_norm
        modules[(f"{stem}.intermediate.dense",)] = layer.intermediate
        modules[(f"{stem}.output.dense",)] = layer.output
        modules[(f"{stem}.output.LayerNorm",)] = layer.output_norm
    return modules
