"""A decoder with adapters on all linear layers of its layers, as the loop trains it: `transformers`, and our own LoRA.

The frozen weights are kept in bf16 while training where the device has it, and are the base's own fp32 again for what
is measured exactly: that is what will be served.

Shapes: B rows, L tokens of the longest of them, M reply tokens in them, V vocabulary, N rows of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.replies import Told
from inference import hub
from training.lab.config import Config
from training.lab.data import Rows, length_batches
from training.lab.device import Place
from training.lab.dialogues import Marked
from training.lab.errors import BadData
from training.lab.learners import reading_batches
from training.lab.loop import Judgement
from training.lab.lora import LoraLinear
from training.lab.plan import Plan
from training.lab.shape import as_bad_data

Splits = dict[str, Marked]
Check = Callable[[], None]


class CausalLearner:
    """LoRA on a causal language model."""

    def __init__(self, config: Config, plan: Plan, place: Place, splits: Splits) -> None:
        torch.manual_seed(config.seed)
        self._config, self._plan, self.place, self._splits = config, plan, place, splits
        with as_bad_data():
            self.model: Any = hub.load_causal(Path(config.base))
        self._exact: dict[str, Tensor] = {}
        self._add_lora(rank=config.lora_rank, alpha=config.lora_alpha)
        self.model.to(place.device)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def batches(self, epoch: int) -> list[Rows]:
        """Rows of like length, within the budget of tokens; the same for the same seed and epoch."""
        return length_batches(
            self._splits["train"].lengths,
            batch_size=self._plan.batch_size,
            token_budget=self._config.token_budget,
            generator=np.random.default_rng([self._config.seed, epoch]),
        )

    def logits(self, rows: Rows) -> Tensor:
        """For each reply token of these training rows what was thought likely in its place: [M, V]."""
        self.model.train()
        ids, mask, replies = self._splits["train"].padded(rows)
        with self.place.autocast():
            return self._answers(ids, mask, replies)

    def tokens(self, rows: Rows, epoch: int) -> int:
        """Tokens of these rows, prompts included: all of them are read."""
        return int(self._splits["train"].lengths[rows].sum())

    def measure(self, split: str, check: Check, *, exact: bool = False) -> Told:
        """Loss, reply tokens and right guesses of each row of a split; `exact` computes in fp32."""
        marked = self._splits[split]
        n = len(marked)
        loss, tokens, right = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        with self._reading(exact=exact):
            for rows in reading_batches(marked.lengths, self._config.token_budget):
                check()
                ids, mask, replies = marked.padded(rows)
                logits = self._answers(ids, mask, replies).float()
                truth = torch.from_numpy(ids[replies]).to(logits.device)
                each = nn.functional.cross_entropy(logits, truth, reduction="none").double().cpu().numpy()
                hit = (logits.argmax(dim=-1) == truth).cpu().numpy()
                owner = np.nonzero(replies)[0]
                loss[rows] = np.bincount(owner, weights=each, minlength=len(rows))
                right[rows] = np.bincount(owner, weights=hit, minlength=len(rows)).astype(np.int64)
                tokens[rows] = replies.sum(axis=1)
        return Told(loss, tokens, right)

    def log_probabilities(self, ids: np.ndarray, start: int) -> list[float]:
        """Of the tokens ids[start:] of one row, each given all before it, in fp32. `start` is at least 1."""
        with self._reading(exact=True):
            tensor = torch.from_numpy(ids.astype(np.int64))[None].to(self.place.device)
            logits = self.model(input_ids=tensor, use_cache=False).logits[0, start - 1 : -1].float()
            chances = torch.log_softmax(logits, dim=-1)
            found = chances.gather(1, tensor[0, start:, None]).squeeze(1)
        return [float(one) for one in found.cpu()]

    def adapters(self) -> dict[str, LoraLinear]:
        """The adapters by module path."""
        return {name: module for name, module in self.model.named_modules() if isinstance(module, LoraLinear)}

    def state(self) -> dict[str, Tensor]:
        """The adapters by the artefact's names: {module path}.A [rank, in] and {module path}.B [out, rank]."""
        state: dict[str, Tensor] = {}
        for path, adapter in self.adapters().items():
            state[f"{path}.A"] = adapter.A.detach().float().cpu().clone()
            state[f"{path}.B"] = adapter.B[0].detach().float().cpu().clone()
        return state

    def _add_lora(self, *, rank: int, alpha: float) -> None:
        self.model.requires_grad_(False)
        found = hub.linears(self.model)
        if not found:
            raise BadData(f"The base ({self.model.config.model_type}) has no linear layers that LoRA could adapt.")
        for path, linear in found.items():
            self.model.set_submodule(path, LoraLinear(linear, parts=1, rank=rank, alpha=alpha))
        if self.place.bf16:
            self._exact = {name: p.detach().clone() for name, p in self._frozen().items()}

    def _frozen(self) -> dict[str, nn.Parameter]:
        """Weights and biases of the adapted layers by name."""
        return {
            f"{path}.{name}": parameter
            for path, adapter in self.adapters().items()
            for name, parameter in adapter.base.named_parameters()
        }

    def _answers(self, ids: np.ndarray, mask: np.ndarray, replies: np.ndarray) -> Tensor:
        """Ids, real tokens and reply tokens, each [B, L] -> the logits of the places before reply tokens, [M, V]."""
        device = self.place.device
        before = np.zeros_like(replies)
        before[:, :-1] = replies[:, 1:]
        inputs: dict[str, Any] = {"input_ids": torch.from_numpy(ids).to(device), "use_cache": False}
        if not mask.all():
            inputs["attention_mask"] = torch.from_numpy(mask.astype(np.int64)).to(device)
        with _answering_at(self.model.get_output_embeddings(), torch.from_numpy(before).to(device)):
            logits: Tensor = self.model(**inputs).logits
        return logits[0]

    @contextmanager
    def _reading(self, *, exact: bool) -> Iterator[None]:
        """Without gradients; in the base's own fp32 where it is to be exact."""
        narrow = self.place.bf16 and not exact
        self._keep(torch.bfloat16 if narrow else torch.float32)
        self.model.eval()
        try:
            with torch.inference_mode(), torch.autocast(self.place.device.type, torch.bfloat16, enabled=narrow):
                yield
        finally:
            self._keep(torch.bfloat16)

    def _keep(self, dtype: torch.dtype) -> None:
        """Hold the frozen matrices in bf16, which saves casting them at every step, or bring the exact ones back."""
        if not self.place.bf16 or next(iter(self._frozen().values())).dtype == dtype:
            return
        for adapter in self.adapters().values():
            adapter.base.to(dtype)
        if dtype == torch.float32:
            with torch.no_grad():
                for name, parameter in self._frozen().items():
                    parameter.copy_(self._exact[name])


@contextmanager
def _answering_at(last: nn.Module, places: Tensor) -> Iterator[None]:
    """The model answers at these places [B, L] alone: its last product is by far the widest, and most of it would be
    thrown away. What a model does to its logits afterwards it still does."""
    handle = last.register_forward_pre_hook(lambda module, given: (given[0][places][None], *given[1:]))
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True, slots=True)
class Replies:
    """The aim of a model that writes: the reply tokens of the training rows, judged by the loss on validation."""

    train: Marked
    classes: int
    weights: Tensor | None = None

    def of(self, rows: Rows) -> Tensor:
        """The reply tokens [M] of these rows, one row after another."""
        ids, _, replies = self.train.padded(rows)
        return torch.from_numpy(ids[replies])

    def judge(self, learner: CausalLearner, check: Check) -> Judgement:
        """The loss per reply token; lower is better."""
        told = learner.measure("validation", check)
        tokens = max(1, int(told.tokens.sum()))
        loss, right = float(told.loss.sum()) / tokens, float(told.right.sum()) / tokens
        return Judgement({"loss": round(loss, 6), "token_accuracy": round(right, 6)}, [-loss])
