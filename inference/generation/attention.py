"""Attention of a mixed batch over a cache of blocks.

transformers' models call one attention function by name and hand our `layout` through to it, so that any decoder-only
architecture computes here with its own modules. All tokens of a step lie one after another in one row.

Shapes: T tokens of the step, H query heads, K key heads, D size of a head, B sequences, L tokens in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.generation.paging import BLOCK

NAME = "tunesmith_blocks"


class Cache:
    """Keys and values of every layer, [blocks, BLOCK, K, D]."""

    def __init__(self, blocks: int, shapes: list[tuple[int, int]], dtype: torch.dtype, device: torch.device) -> None:
        def empty(heads: int, size: int) -> Tensor:
            return torch.zeros(blocks, BLOCK, heads, size, dtype=dtype, device=device)

        self.keys = [empty(heads, size) for heads, size in shapes]
        self.values = [empty(heads, size) for heads, size in shapes]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Sequences of like length that write. `rows` are their places in the step, None where it is all of it."""

    rows: Tensor | None  # [B] int64
    table: Tensor  # [B, blocks] int64
    mask: Tensor  # [B, 1, 1, L], 0 or -inf


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A part of one prompt: tokens `begin` to `end` of the step, after `past` that are in the cache."""

    begin: int
    end: int
    past: int
    table: Tensor | None  # [blocks], None where nothing is past
    mask: Tensor | None  # [tokens, past + tokens], None where plain causal order is enough


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where a step's tokens go in the cache, and what each may look at."""

    cache: Cache
    slots: Tensor  # [T] int64: block x BLOCK + place
    groups: list[Group]
    spans: list[Span]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    *,
    layout: Layout,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D]. Called by transformers' attention modules."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    keys, values = layout.cache.keys[layer], layout.cache.values[layer]
    keys.view(-1, *keys.shape[2:]).index_copy_(0, layout.slots, key[0].transpose(0, 1))
    values.view(-1, *values.shape[2:]).index_copy_(0, layout.slots, value[0].transpose(0, 1))
    if layout.groups:
        rows = query[0].transpose(0, 1)  # [T, H, D]
        if layout.groups[0].rows is None:
            return _write(rows, keys, values, layout.groups[0], scaling).unsqueeze(0), None
        found = torch.empty_like(rows, memory_format=torch.contiguous_format)
        for group in layout.groups:
            assert group.rows is not None, "one of several groups is not all of the step"
            found.index_copy_(0, group.rows, _write(rows.index_select(0, group.rows), keys, values, group, scaling))
        return found.unsqueeze(0), None
    return torch.cat([_read(query, key, value, keys, values, span, scaling) for span in layout.spans]).unsqueeze(
        0
    ), None


def _write(rows: Tensor, keys: Tensor, values: Tensor, group: Group, scaling: float) -> Tensor:
    """One new token for each sequence of a group, [B, H, D] -> [B, H, D].

    Heads that share keys stand where queries of one sequence would: there is only one, so no order between them.
    """
    _, _, heads, size = keys.shape
    k = _gather(keys, group.table)
    v = _gather(values, group.table)
    queries = rows.reshape(len(rows), heads, -1, size)
    if rows.device.type == "cpu":
        return _products(queries, k, v, group.mask, scaling).reshape(len(rows), -1, size)
    found = F.scaled_dot_product_attention(queries, k, v, attn_mask=group.mask, scale=scaling)
    return found.reshape(len(rows), -1, size)


def _products(queries: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """The same as two batched products: the library's own parts a query into blocks, of which there is one here, and
    took twice as long on a CPU. [B, K, Q, D] -> [B * K, Q, D]."""
    many, heads, _, size = queries.shape
    length = k.shape[2]
    hidden = mask.expand(many, heads, 1, length).reshape(many * heads, 1, length)
    scores = torch.baddbmm(
        hidden, queries.reshape(many * heads, -1, size), k.reshape(many * heads, length, size).transpose(1, 2),
        alpha=scaling,
    )  # fmt: skip
    return torch.softmax(scores, dim=-1) @ v.reshape(many * heads, length, size)


def _gather(cache: Tensor, table: Tensor) -> Tensor:
    """The blocks of a table, [B, K, L, D]."""
    rows, blocks = table.shape
    found = cache.view(cache.shape[0], -1).index_select(0, table.reshape(-1))
    return found.view(rows, blocks * BLOCK, *cache.shape[2:]).transpose(1, 2)


def _read(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, span: Span, scaling: float
) -> Tensor:
    """A part of a prompt: [tokens, H, D]."""
    q = query[:, :, span.begin : span.end]
    if span.table is None:
        k, v = key[:, :, span.begin : span.end], value[:, :, span.begin : span.end]
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
    else:
        length = span.past + span.end - span.begin
        k = _gather(keys, span.table[None])[:, :, :length]
        v = _gather(values, span.table[None])[:, :, :length]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=span.mask, scale=scaling, enable_gqa=True)
    return found[0].transpose(0, 1)


def register() -> None:
    """Make the function known to transformers under `NAME`."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
