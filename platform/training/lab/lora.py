"""LoRA on one linear layer, or on several that share an input.

W x becomes W x + (alpha / rank) B A x with W frozen, A [rank, in] random and B [out, rank] zero at the start
(Hu et al. 2021). Query, key and value are one matrix product in the encoder, so their three adapters are kept
stacked and cost one product too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LoraLinear(nn.Module):
    """A frozen linear layer with `parts` adapters, each giving an equal share of the output."""

    def __init__(self, base: nn.Linear, *, parts: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.parts, self.rank, self.scale = parts, rank, alpha / rank
        out = base.out_features // parts
        self.A = nn.Parameter(torch.empty(parts * rank, base.in_features))
        self.B = nn.Parameter(torch.zeros(parts, out, rank))
        nn.init.uniform_(self.A, -1 / math.sqrt(base.in_features), 1 / math.sqrt(base.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """x [T, in] -> [T, out]."""
        return self.base(x) + self.delta(x)

    def delta(self, x: Tensor) -> Tensor:
        """What the adapters add: x [T, in] -> [T, out]."""
        down = nn.functional.linear(x, self.A * self.scale)
        if self.parts == 1:
            return nn.functional.linear(down, self.B[0])
        up = torch.bmm(down.view(-1, self.parts, self.rank).transpose(0, 1), self.B.transpose(1, 2))
        return up.transpose(0, 1).reshape(x.shape[0], -1)
