"""A causal base in memory: transformers' own modules, over our cache of blocks, with adapters in lanes.

`Decoder.step` computes one step of `turns`; `Decoder.score` gives the log-probabilities of a known text, which is how
serving is compared with training.

Shapes: T tokens of a step, N sequences that get a token, V vocabulary.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference import hub
from inference.adapters import Adapter
from inference.errors import BadArtefact
from inference.generation import attention
from inference.generation.attention import Cache, Group, Layout, Span
from inference.generation.lanes import Lanes
from inference.generation.paging import BLOCK
from inference.generation.steps import Part, Step
from inference.geometry import HubGeometry

log = logging.getLogger(__name__)

SAME = 0.02
"""How far the log-probabilities of our attention may lie from the library's, in fp32, before a base is refused."""
APART = 2.0  # sequences that write together may be so many times as long as each other


class Decoder:
    """One base on one device. Used by one thread at a time."""

    def __init__(
        self, folder: Path, *, device: torch.device, dtype: torch.dtype, cache_bytes: int, positions: int, lanes: int
    ) -> None:
        self.device, self.dtype = device, dtype
        model: Any = hub.load_causal(folder)
        self._check_attention(model)
        expected = _library_scores(model, positions)
        linears = hub.linears(model)
        config: Any = model.config
        self.vocabulary = int(config.vocab_size)
        self.geometry = HubGeometry(
            hidden=int(config.hidden_size),
            positions=positions,
            weights={name: tuple(value.shape) for name, value in hub.weights_of(model).items()},
            linears={name: (linear.in_features, linear.out_features) for name, linear in linears.items()},
        )
        self.lanes = Lanes(dtype, device, limit=lanes)
        shapes = [(int(module.config.num_key_value_heads), int(module.head_dim)) for module in _attentions(model)]
        model.set_attn_implementation(attention.NAME)
        for name, linear in linears.items():
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, self.lanes.adopt(name, linear))
        self._model: Any = model
        self._prove(shapes, expected, positions)
        self._model = model.to(device, dtype).requires_grad_(False)
        self._lay_out()
        block_bytes = sum(2 * heads * size for heads, size in shapes) * BLOCK * dtype.itemsize
        self.blocks = max(cache_bytes // block_bytes, -(-positions // BLOCK))
        self.cache = Cache(self.blocks, shapes, dtype, device)

    def arrange(self, step: Step, adapters: list[Adapter | None]) -> Step:
        """The same step with its parts in the order in which their adapters lie, so that nothing has to be moved."""
        self.lanes.join(adapters)
        order = sorted(range(len(adapters)), key=lambda row: self.lanes.place(adapters[row]))
        return Step(step.writing, [step.parts[row] for row in order])

    @torch.inference_mode()
    def step(self, step: Step, adapters: list[Adapter | None]) -> Tensor | None:
        """Compute a step, whose parts have these adapters. Logits [N, V] in fp32 of the parts that end, in order."""
        self.lanes.use(adapters, [part.end - part.begin for part in step.parts])
        layout = self._layout(step)
        ids: list[int] = []
        positions: list[int] = []
        keep: list[int] = []
        at = 0
        for part in step.parts:
            ids += part.sequence.tokens[part.begin : part.end]
            positions += range(part.begin, part.end)
            at += part.end - part.begin
            if part.ends:
                keep.append(at - 1)
        logits = self._forward(ids, positions, layout, keep or [at - 1])
        return logits if keep else None

    @torch.inference_mode()
    def score(self, tokens: list[int], start: int, adapter: Adapter | None) -> Tensor:
        """Log-probabilities in fp32, [len(tokens) - start, V], of what comes at each place from `start` on."""
        self.lanes.use([adapter], [len(tokens)])
        return self._score(tokens, start, self.cache_for(len(tokens)))

    def clear(self, table: list[int]) -> None:
        """Forget what blocks hold: a number that is not finite would get through the mask of whoever has them next."""
        for part in (*self.cache.keys, *self.cache.values):
            part[table] = 0

    def cache_for(self, tokens: int) -> Cache:
        """A cache of its own for a text that is not served."""
        shapes = [(keys.shape[2], keys.shape[3]) for keys in self.cache.keys]
        return Cache(-(-tokens // BLOCK), shapes, self.dtype, self.device)

    def _lay_out(self) -> None:
        head = self._model.get_output_embeddings()
        for packed in self.lanes.lay_out(*([head] if type(head) is nn.Linear else [])):
            self._model.set_output_embeddings(packed)

    def _score(self, tokens: list[int], start: int, cache: Cache) -> Tensor:
        count = len(tokens)
        slots = torch.arange(count, device=cache.keys[0].device)
        layout = Layout(cache, slots, [], [Span(0, count, 0, None, None)])
        logits = self._forward(tokens, list(range(count)), layout, list(range(start - 1, count - 1)))
        return torch.log_softmax(logits, dim=-1)

    def _forward(self, ids: list[int], positions: list[int], layout: Layout, keep: list[int]) -> Tensor:
        device = layout.slots.device
        answer = self._model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=torch.tensor(keep, device=device),
            layout=layout,
        )
        logits: Tensor = answer.logits[0].float()
        return logits

    def _layout(self, step: Step) -> Layout:
        slots = [
            part.table[place // BLOCK] * BLOCK + place % BLOCK
            for part in step.parts
            for place in range(part.begin, part.end)
        ]
        return Layout(
            self.cache,
            torch.tensor(slots, device=self.device),
            self._groups(step.parts) if step.writing else [],
            [] if step.writing else self._spans(step.parts),
        )

    def _groups(self, parts: list[Part]) -> list[Group]:
        """Sequences of like length together, so that short ones are not padded to the longest."""
        order = sorted(range(len(parts)), key=lambda row: parts[row].end)
        groups: list[list[int]] = []
        for row in order:
            if groups and parts[row].end <= APART * max(parts[groups[-1][0]].end, 4 * BLOCK):
                groups[-1].append(row)
            else:
                groups.append([row])
        if len(groups) == 1:
            return [self._group(parts, None)]
        return [self._group([parts[row] for row in rows], torch.tensor(rows, device=self.device)) for rows in groups]

    def _group(self, parts: list[Part], rows: Tensor | None) -> Group:
        width = max(-(-part.end // BLOCK) for part in parts)
        tables = [part.table[:width] for part in parts]
        table = torch.tensor([table + [0] * (width - len(table)) for table in tables], device=self.device)
        lengths = torch.tensor([part.end for part in parts], device=self.device)
        hidden = torch.arange(width * BLOCK, device=self.device)[None] >= lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(hidden, float("-inf"))
        return Group(rows, table, mask[:, None, None])

    def _spans(self, parts: list[Part]) -> list[Span]:
        spans, at = [], 0
        for part in parts:
            count = part.end - part.begin
            table = mask = None
            if part.begin:
                width = -(-part.end // BLOCK)
                table = torch.tensor(part.table[:width], device=self.device)
                mask = torch.ones(count, part.end, dtype=torch.bool, device=self.device).tril(part.begin)
            spans.append(Span(at, at + count, part.begin, table, mask))
            at += count
        return spans

    @staticmethod
    def _check_attention(model: nn.Module) -> None:
        """Raises `BadArtefact` for attention that our cache does not have."""
        config: Any = model.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"} or getattr(config, "attn_logit_softcapping", None):
            raise BadArtefact(
                f"The base ({config.model_type}) looks at a part of the text only, or caps its attention; "
                "bases with plain full attention can write here."
            )
        modules = _attentions(model)
        if not modules or not all(hasattr(module, "head_dim") for module in modules):
            raise BadArtefact(f"The base ({config.model_type}) does not keep its attention in the usual modules.")

    def _prove(self, shapes: list[tuple[int, int]], expected: tuple[list[int], Tensor], positions: int) -> None:
        """The same text through our attention, on the CPU in fp32; raises `BadArtefact` where it differs."""
        tokens, wanted = expected
        cache = Cache(-(-len(tokens) // BLOCK), shapes, torch.float32, torch.device("cpu"))
        started = time.perf_counter()
        self.lanes.active = None
        try:
            with torch.inference_mode():
                found = self._score(tokens, 1, cache)
        except Exception as error:
            raise BadArtefact(f"The base does not compute with a cache of blocks: {error!s:.200}") from error
        apart = float((found - wanted).abs().max())
        log.info("proved the cache on %d tokens in %.0f ms: %.1e apart", len(tokens),
                 (time.perf_counter() - started) * 1000, apart)  # fmt: skip
        if apart > SAME:
            raise BadArtefact(f"The base does not compute the same with a cache of blocks: {apart:.2g} apart.")


def _attentions(model: nn.Module) -> list[Any]:
    """The attention modules, by layer."""
    found = [module for module in model.modules() if hasattr(module, "layer_idx") and hasattr(module, "q_proj")]
    return sorted(found, key=lambda module: int(module.layer_idx))


def _library_scores(model: nn.Module, positions: int) -> tuple[list[int], Tensor]:
    """Some tokens, and what the library's own attention says of them."""
    config: Any = model.config
    count = min(64, positions)
    tokens = [3 + (7 * place) % max(1, int(config.vocab_size) - 3) for place in range(count)]
    with torch.inference_mode():
        answer: Any = model(input_ids=torch.tensor([tokens]), use_cache=False)
        return tokens, torch.log_softmax(answer.logits[0, :-1].float(), dim=-1)
