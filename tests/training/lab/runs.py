"""What a run of the lab said and how it ended; and the same run inside this process, for speed."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.late import late
from training.lab.config import TASKS, config_from
from training.lab.events import Emitter

safetensors, torch = late("safetensors.torch"), late("torch")

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Outcome:
    """Exit status, events, and stderr."""

    code: int
    events: list[dict[str, Any]]
    errors: str

    @classmethod
    def of(cls, code: int, out: str, err: str) -> "Outcome":
        """Every line of stdout must be a JSON object; anything else fails here."""
        return cls(code, [json.loads(line) for line in out.splitlines()], err)

    def named(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [item for item in self.events if item["event"] == event]


@dataclass
class StopAfter:
    """A request to stop that comes after the run has looked `looks` times."""

    looks: int

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def train_here(config: dict[str, Any], *, looks: int = 10**9) -> list[dict[str, Any]]:
    """Run the recipe in this process; its events. The process counts as before afterwards: a trainer flushes the
    smallest numbers to zero, which would spoil the draws of floats in later tests."""
    out = io.StringIO()
    try:
        recipe = late(f"training.lab.{TASKS[config['task']]}")
        recipe.run(config_from(config), Emitter(out), StopAfter(looks))
    finally:
        torch.set_flush_denormal(False)
        events = [json.loads(line) for line in out.getvalue().splitlines()]
    return events


def artefact_tensors(config: dict[str, Any]) -> dict[str, Any]:
    """Every trained tensor of a finished run, by file and name."""
    folder = Path(config["output"]) / "artefact"
    return {
        f"{path.name}:{name}": tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in safetensors.load_file(path).items()
    }


def report_of(config: dict[str, Any]) -> dict[str, Any]:
    """The report of a finished run."""
    loaded: dict[str, Any] = json.loads((Path(config["output"]) / "artefact" / "report.json").read_text())
    return loaded
