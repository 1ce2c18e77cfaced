"""BERT in plain numpy and fp32: slow, and right by reading. What backends are compared with before one is chosen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from inference.encoder import Ids
from inference.geometry import TARGETS, Geometry
from inference.tensors import Array

MASKED = np.float32(-1e9)


def encode(weights: Mapping[str, Array], geometry: Geometry, ids: Ids, mask: Array) -> Array:
    """ids int32 [rows, T] and mask float32 [rows, T]; returns the mean over each row's own tokens, [rows, hidden]."""
    x = states(weights, geometry, ids, mask)
    pooled: Array = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    return pooled


def states(weights: Mapping[str, Array], geometry: Geometry, ids: Ids, mask: Array, types: Ids | None = None) -> Array:
    """As `encode`, every token's vector, [rows, T, hidden]; `types` [rows, T], the text of a pair it belongs to."""
    words = weights["embeddings.word_embeddings.weight"][ids]
    places = weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    kinds = weights["embeddings.token_type_embeddings.weight"][np.zeros_like(ids) if types is None else types]
    x = _norm(words + places + kinds, weights, geometry, "embeddings")
    bias = ((1 - mask) * MASKED)[:, None, None, :]
    for layer in range(geometry.layers):
        x = _layer(x, bias, weights, geometry, layer)
    return x


def _layer(x: Array, bias: Array, weights: Mapping[str, Array], geometry: Geometry, layer: int) -> Array:
    rows, length, hidden = x.shape
    split = (rows, length, geometry.heads, hidden // geometry.heads)

    def linear(value: Array, target: str) -> Array:
        name = geometry.linear(layer, target)
        result: Array = value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return result

    query, key, value = (linear(x, target).reshape(split).transpose(0, 2, 1, 3) for target in TARGETS[:3])
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(np.float32(split[3])) + bias
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    context = (shares / shares.sum(-1, keepdims=True)) @ value
    context = context.transpose(0, 2, 1, 3).reshape(rows, length, hidden)
    prefix = f"encoder.layer.{layer}"
    x = _norm(x + linear(context, "attention_output"), weights, geometry, f"{prefix}.attention.output")
    return _norm(x + linear(_gelu(linear(x, "intermediate")), "output"), weights, geometry, f"{prefix}.output")


def _norm(x: Array, weights: Mapping[str, Array], geometry: Geometry, name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(geometry.epsilon))
    result: Array = scaled * weights[f"{name}.LayerNorm.weight"] + weights[f"{name}.LayerNorm.bias"]
    return result


def _gelu(x: Array) -> Array:
    """x times the normal distribution's integral, by Abramowitz and Stegun 7.1.26 (off by at most 1.5e-7)."""
    size = np.abs(x) / np.float32(np.sqrt(2))
    t: Array = (1 / (1 + np.float32(0.3275911) * size)).astype(np.float32)
    series: Array = np.zeros_like(t)
    for factor in np.array((1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592), np.float32):
        series = (series + factor) * t
    erf = np.sign(x) * (1 - series * np.exp(-size * size))
    result: Array = x * (1 + erf.astype(np.float32)) / np.float32(2)
    return result
