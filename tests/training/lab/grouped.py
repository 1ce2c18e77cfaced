"""Runs that are trained alone and once more beside each other, and what must be the same of both."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.late import late
from tests.training.lab.runs import StopAfter, artefact_tensors, report_of, train_here
from training.lab.events import Emitter

torch = late("torch")
group, together = late("training.lab.group"), late("training.lab.together")

Settings = Callable[..., dict[str, Any]]
EXACT = 1e-5
LOGITS = "training.lab.together.logits_of"
OF_THE_CLOCK = ("seconds", "wall_seconds", "samples_per_second")


class Cast:
    """Runs by name, each trained alone and once more beside the others."""

    def __init__(self, folder: Path, settings_for: Settings) -> None:
        self._folder, self._settings_for = folder, settings_for
        self.alone: dict[str, dict[str, Any]] = {}
        self.grouped: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}

    def add(self, name: str, **changes: Any) -> None:
        """One more run."""
        config = self._settings_for(method="lora", learning_rate=1e-2) | changes
        self.alone[name] = config | {"output": str(self._folder / name / "alone")}
        self.grouped[name] = config | {"output": str(self._folder / name / "group")}

    def run_together(self, *, looks: int = 10**9) -> None:
        """All of them in one process; each one's events without `job`."""
        paths, out = [], io.StringIO()
        for name, config in self.grouped.items():
            path = self._folder / f"{name}.json"
            path.write_text(json.dumps(config))
            paths.append(str(path))
        try:
            group.run(paths, Emitter(out), StopAfter(looks))
        finally:
            torch.set_flush_denormal(False)
        names = list(self.grouped)
        self.events = {name: [] for name in names}
        for line in out.getvalue().splitlines():
            event = json.loads(line)
            self.events[names[event.pop("job")]].append(event)

    def status(self, name: str) -> int:
        """How a run of the group ended."""
        assert [event["event"] for event in self.events[name]].count("end") == 1
        last = self.events[name][-1]
        assert last["event"] == "end"
        return int(last["status"])

    def assert_same(self, name: str) -> None:
        """Weights to 1e-5, the same report but for the clock, the same story."""
        told = train_here(self.alone[name])
        expected, got = artefact_tensors(self.alone[name]), artefact_tensors(self.grouped[name])
        assert expected.keys() == got.keys()
        for key, tensor in expected.items():
            assert (tensor - got[key]).abs().max() <= EXACT, (name, key)
        reports = [report_of(self.alone[name]), report_of(self.grouped[name])]
        for report in reports:
            for key in OF_THE_CLOCK:
                del report["training"][key]
        assert same(*reports)
        assert self.status(name) == 0
        assert same(without_clock(told), without_clock(self.events[name][:-1]))


def without_clock(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was said, without what differs between any two runs."""
    drop = {"samples_per_second", "path", "manifest_sha256", "artefact", "report"}
    return [{key: value for key, value in event.items() if key not in drop} for event in events]


def same(one: Any, other: Any) -> bool:
    """Equal, floats to 1e-5."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=EXACT, rel=EXACT)
    return bool(one == other)
