"""One update of the weights: fused AdamW, a warmed-up falling rate, clipping, and a guard against nonsense.

The guard looks before it leaps: loss and gradient norm are checked before the weights move, so the weights on
disk are never poisoned by the step that went wrong.

The update is torch's own `adamw`, the function below its class: an object of the class loads torch's compiler, which
is never used here and costs every run two seconds to load and two more to take down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from training.lab.errors import Diverged

CLIP_NORM = 1.0
BETAS, EPSILON = (0.9, 0.999), 1e-8
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_HOPELESS_STEPS = 5


class Optimiser:
    """AdamW over named parameters. Matrices decay; biases and normalisation do not.

    `head_factor` multiplies the rate of the head, which starts from nothing while the encoder starts from much.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        *,
        learning_rate: float,
        weight_decay: float,
        total_steps: int,
        warmup: float,
        schedule: str,
        head_factor: float = 1.0,
    ) -> None:
        self.parameters = parameters
        self.learning_rate, self.total_steps, self.schedule = learning_rate, total_steps, schedule
        self.warmup_steps = max(1, round(warmup * total_steps)) if warmup else 0
        self._groups: dict[tuple[float, float], list[str]] = {}
        for name, parameter in parameters.items():
            key = (weight_decay if parameter.ndim >= 2 else 0.0, head_factor if name.startswith("head.") else 1.0)
            self._groups.setdefault(key, []).append(name)
        self._moments: dict[str, dict[str, Tensor]] = {}

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        left = max(0.0, 1.0 - share)
        if self.schedule == "cosine":
            left = 0.5 * (1 + math.cos(math.pi * (1 - left)))
        return self.learning_rate * left

    def update(self, step: int) -> float:
        """Clip the gradients and step. Returns their norm before clipping; raises Diverged if it is not finite."""
        norm = float(nn.utils.clip_grad_norm_(list(self.parameters.values()), CLIP_NORM))
        if not math.isfinite(norm):
            raise Diverged(_advice("a gradient that is not a number", step))
        with torch.no_grad():
            for (decay, factor), names in self._groups.items():
                self._move(names, rate=self.rate(step) * factor, decay=decay)
        return norm

    def _move(self, names: list[str], *, rate: float, decay: float) -> None:
        """One step of the parameters that have a gradient, which is used up."""
        moved: list[Tensor] = []
        gradients: list[Tensor] = []
        moments: dict[str, list[Tensor]] = {kind: [] for kind in MOMENTS}
        for name in names:
            parameter = self.parameters[name]
            if parameter.grad is None:
                continue
            moved.append(parameter)
            gradients.append(parameter.grad)
            if name not in self._moments:
                self._moments[name] = _nothing(parameter)
            for kind, tensor in self._moments[name].items():
                moments[kind].append(tensor)
            parameter.grad = None
        if moved:
            adamw(
                moved,
                gradients,
                moments["exp_avg"],
                moments["exp_avg_sq"],
                [],
                moments["step"],
                fused=True,
                amsgrad=False,
                maximize=False,
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                eps=EPSILON,
                weight_decay=decay,
            )

    def state(self) -> dict[str, Tensor]:
        """Adam's moments by parameter name; empty before the first step."""
        tensors: dict[str, Tensor] = {}
        for name in self.parameters:
            for key, value in self._moments.get(name, {}).items():
                tensors[f"{key}/{name}"] = value
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for key, value in tensors.items():
            kind, name = key.split("/", 1)
            parameter = self.parameters[name]
            device = torch.device("cpu") if kind == "step" and parameter.device.type == "cpu" else parameter.device
            self._moments.setdefault(name, {})[kind] = value.to(device).clone()


def _nothing(parameter: nn.Parameter) -> dict[str, Tensor]:
    """The moments of a parameter that was never moved, of MOMENTS' names."""
    start = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": start, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


class Guard:
    """Stops a run whose loss is not a number, or stays far above that of knowing nothing."""

    def __init__(self, classes: int) -> None:
        self._hopeless = 10.0 + 5.0 * math.log(classes)
        self._count = 0

    def check(self, loss: float, step: int) -> None:
        """Look at one loss before its gradient is taken. Raises Diverged."""
        if not math.isfinite(loss):
            raise Diverged(_advice("a loss that is not a number", step))
        self._count = self._count + 1 if loss > self._hopeless else 0
        if self._count >= _HOPELESS_STEPS:
            raise Diverged(_advice(f"a loss of {loss:.1f}, far above that of guessing", step))


def _advice(what: str, step: int) -> str:
    return f"The training diverged at step {step + 1}: {what}. Lower the learning rate, or leave it at 'auto'."
