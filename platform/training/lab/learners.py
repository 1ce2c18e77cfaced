"""What is trained: an encoder with a head, or a head on cached embeddings, behind one face.

The loop knows only this face: named parameters, batches of an epoch, logits of a batch, logits of a split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.lab.bodies import body_for, plain_encoder
from training.lab.config import Config
from training.lab.data import Encoded, Rows, length_batches
from training.lab.device import Place
from training.lab.model import Classifier
from training.lab.plan import Plan

Splits = dict[str, Encoded]
Check = Callable[[], None]

_READ_ROWS = 64  # rows per batch when only reading; larger ones leave the cache (256: a quarter slower)


class Trainee(Protocol):
    """Something the loop can train."""

    parameters: dict[str, nn.Parameter]

    def batches(self, epoch: int) -> list[Rows]:
        """The training rows of an epoch, in order; the same for the same seed and epoch."""
        ...

    def logits(self, rows: Rows) -> Tensor:
        """Logits [B, C] of training rows, ready for a backward pass; of several answers a row, one after another."""
        ...

    def tokens(self, rows: Rows, epoch: int) -> int:
        """Real tokens that the model reads for this batch: what a tenant pays for."""
        ...


class Learner(Trainee, Protocol):
    """A classifier that is being trained."""

    def read(self, split: str, check: Check, *, exact: bool = False) -> NDArray[np.float32]:
        """Logits [N, C] of a whole split, without gradients; `exact` computes in fp32."""
        ...

    def vectors(self, rows: Rows, check: Check) -> NDArray[np.float32]:
        """Unit vectors [N, H] of training rows, in the arithmetic of the last `read`."""
        ...

    def head(self) -> dict[str, Tensor]:
        """{"weight" [C, H], "bias" [C]} as the artefact wants them."""
        ...

    def encoder_files(self) -> dict[str, dict[str, Tensor]]:
        """{file name: tensors} of what was trained besides the head."""
        ...

    def lora_targets(self) -> list[str]:
        """The names of the adapted layers; empty where there are none."""
        ...


class EncoderLearner:
    """Full tuning or LoRA."""

    def __init__(self, config: Config, plan: Plan, place: Place, encoded: Splits, classes: int) -> None:
        torch.manual_seed(config.seed)
        self._config, self._plan, self.place, self._encoded = config, plan, place, encoded
        self._body = body_for(config, place, encoded)
        self.model = Classifier(self._body.encoder, classes).to(place.device)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def batches(self, epoch: int) -> list[Rows]:
        return length_batches(
            self._encoded["train"].lengths,
            batch_size=self._plan.batch_size,
            token_budget=self._config.token_budget,
            generator=np.random.default_rng([self._config.seed, epoch]),
        )

    def logits(self, rows: Rows) -> Tensor:
        self.model.train()
        with self.place.autocast():
            return self.model(*self.inputs("train", rows))

    def tokens(self, rows: Rows, epoch: int) -> int:
        return int(self._encoded["train"].lengths[rows].sum())

    def size(self, rows: Rows) -> int:
        """Tokens of a batch with its padding: the rows of its products."""
        return len(rows) * int(self._encoded["train"].lengths[rows].max())

    def read(
        self, split: str, check: Check, *, exact: bool = False, share: tuple[int, int] = (0, 1)
    ) -> NDArray[np.float32]:
        """As `Learner.read`; of a `share` (k, n) every nth batch from the kth on, with zeros for the other rows."""
        if exact:
            self._body.to_exact()
        lengths = self._encoded[split].lengths
        out = np.zeros((len(lengths), self.model.head.out_features), dtype=np.float32)
        self.model.eval()
        with (
            torch.inference_mode(),
            torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.place.bf16 and not exact),
        ):
            for rows in reading_batches(lengths, self._config.token_budget)[share[0] :: share[1]]:
                check()
                out[rows] = self.model(*self.inputs(split, rows)).float().cpu().numpy()
        return out

    def vectors(self, rows: Rows, check: Check) -> NDArray[np.float32]:
        lengths = self._encoded["train"].lengths[rows]
        out = np.zeros((len(rows), self._body.encoder.shape.hidden), dtype=np.float32)
        self.model.eval()
        with torch.inference_mode():
            for places in reading_batches(lengths, self._config.token_budget):
                check()
                pooled = self._body.encoder.pooled(*self.inputs("train", rows[places]))
                out[places] = nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy()
        return out

    def head(self) -> dict[str, Tensor]:
        return {"weight": self.model.head.weight.detach(), "bias": self.model.head.bias.detach()}

    def encoder_files(self) -> dict[str, dict[str, Tensor]]:
        return self._body.files()

    def lora_targets(self) -> list[str]:
        return self._body.lora_targets()

    def inputs(self, split: str, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """Token ids [B, L], and the mask of real ones [B, L] or None when all are."""
        ids, mask = self._encoded[split].padded(rows, self._body.vocabulary)
        device = self.place.device
        return torch.from_numpy(ids).to(device), None if mask.all() else torch.from_numpy(mask).to(device)


class HeadLearner:
    """A linear head on embeddings computed once. Trains on standardised features; `head` folds that back."""

    def __init__(self, config: Config, plan: Plan, features: dict[str, Tensor], lengths: Rows, classes: int) -> None:
        torch.manual_seed(config.seed)
        self._config, self._plan, self._lengths = config, plan, lengths
        self._mean, spread = features["train"].mean(dim=0), features["train"].std(dim=0)
        # A dimension that hardly varies (all-MiniLM has one) must not be blown up: serving in bf16 would amplify noise.
        self._spread = spread.clamp_min(0.05 * float(spread.median()) + 1e-9)
        self._features = {name: (part - self._mean) / self._spread for name, part in features.items()}
        self.model = nn.Linear(self._mean.numel(), classes).to(self._mean.device)
        nn.init.zeros_(self.model.weight)
        self.parameters = dict(self.model.named_parameters())

    def batches(self, epoch: int) -> list[Rows]:
        n, size = len(self._lengths), self._plan.batch_size
        order = np.random.default_rng([self._config.seed, epoch]).permutation(n)
        return list(np.array_split(order, -(-n // size)))

    def logits(self, rows: Rows) -> Tensor:
        return self.model(self._features["train"][torch.from_numpy(rows)])

    def tokens(self, rows: Rows, epoch: int) -> int:
        return int(self._lengths[rows].sum()) if epoch == 0 else 0  # the encoder reads each row once

    def read(self, split: str, check: Check, *, exact: bool = False) -> NDArray[np.float32]:
        check()
        with torch.inference_mode():
            return self.model(self._features[split]).float().cpu().numpy()

    def vectors(self, rows: Rows, check: Check) -> NDArray[np.float32]:
        check()
        with torch.inference_mode():
            pooled = self._features["train"][torch.from_numpy(rows)] * self._spread + self._mean
            return nn.functional.normalize(pooled, dim=-1).cpu().numpy()

    def head(self) -> dict[str, Tensor]:
        weight = self.model.weight.detach() / self._spread
        return {"weight": weight, "bias": self.model.bias.detach() - weight @ self._mean}

    def encoder_files(self) -> dict[str, dict[str, Tensor]]:
        return {}

    def lora_targets(self) -> list[str]:
        return []


def embed(config: Config, place: Place, encoded: Splits, check: Check) -> dict[str, Tensor]:
    """Pooled vectors [N, H] of each split from the untouched base, in fp32 arithmetic.

    fp32 because the artefact is checked against an fp32 forward, and the pass is made once.
    """
    encoder = plain_encoder(config.base)
    encoder.to(place.device).eval()
    features: dict[str, Tensor] = {}
    with torch.inference_mode():
        for name, part in encoded.items():
            out = torch.zeros(len(part), encoder.shape.hidden, device=place.device)
            for rows in reading_batches(part.lengths, config.token_budget):
                check()
                ids, mask = part.padded(rows)
                tensor = None if mask.all() else torch.from_numpy(mask).to(place.device)
                out[torch.from_numpy(rows)] = encoder.pooled(torch.from_numpy(ids).to(place.device), tensor)
            features[name] = out
    return {name: part.clone() for name, part in features.items()}


def reading_batches(lengths: Rows, token_budget: int) -> list[Rows]:
    """Batches for a pass without gradients: sorted, larger, not shuffled."""
    return length_batches(lengths, batch_size=_READ_ROWS, token_budget=token_budget, generator=None)
