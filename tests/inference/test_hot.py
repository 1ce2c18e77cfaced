"""The copy of a base with a hot adapter merged: when it is made and used, when it goes, and that it answers alike."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inference import hot, wire
from inference.adapters import Adapter
from inference.address import Address
from inference.artefact import LoraSpec
from inference.engine import Engine
from inference.geometry import adapter_shapes
from inference.hot import WINDOW, WINDOWS, Merging, merged
from inference.residents import COPY, Resident, Residents
from inference.settings import Settings
from inference.wire import MERGED
from tests.inference import reference
from tests.inference.artefacts import GEOMETRY, base_weights, make
from tests.inference.test_serving_path import TEXTS


def tuned(model: str, sha256: str = "one") -> Resident:
    encoder = SimpleNamespace(bytes=50)
    return Resident("t", model, sha256, "base", "lora", [], 64, encoder, object(), None, None, 1)  # type: ignore[arg-type]


def bare() -> Resident:
    return Resident("", "", "", "base", "base", [], 64, SimpleNamespace(bytes=50), None, None, None, 0)  # type: ignore[arg-type]


def merging(residents: Residents) -> Merging:
    return Merging(residents, lambda _: SimpleNamespace(bytes=50), lambda work: work())  # type: ignore[arg-type, return-value]


def traffic(one: Merging, resident: Resident, share: float, windows: int = WINDOWS) -> Resident:
    """So many windows, of which the resident has this share and the bare base the rest; what it was given last."""
    given = resident
    for _ in range(windows):
        given = one.take(resident, int(WINDOW * share))
        one.take(bare(), WINDOW - int(WINDOW * share))
    return given


def book(budget: int = 1000) -> Residents:
    residents = Residents(budget, 0)
    residents.add(tuned("hot"))
    return residents


def test_an_adapter_with_most_of_the_traffic_for_a_while_gets_a_copy() -> None:
    residents = book()
    one = merging(residents)
    model = residents.get("t", "hot")
    assert traffic(one, model, 0.9, WINDOWS - 1) is model, "not before it has been hot for a while"
    traffic(one, model, 0.9, 1)
    copy = one.take(model, 1)
    assert (copy.method, copy.adapter, copy.sha256) == (COPY, None, "one")
    assert residents.used == 51, "the copy counts in the budget"


def test_the_copy_goes_when_the_traffic_cools_and_stays_while_it_is_lukewarm() -> None:
    residents = book()
    one = merging(residents)
    model = residents.get("t", "hot")
    traffic(one, model, 0.9)
    assert traffic(one, model, 0.5).method == COPY
    traffic(one, model, 0.2)
    assert one.take(model, 1) is model
    assert residents.used == 1


def test_shared_traffic_merges_nobody() -> None:
    residents = book()
    one = merging(residents)
    model = residents.get("t", "hot")
    assert traffic(one, model, 0.5, 10) is model
    assert residents.used == 1


def test_a_copy_pushes_nobody_out_and_is_gone_for_a_new_version_or_an_unloaded_model() -> None:
    residents = book(budget=40)
    one = merging(residents)
    traffic(one, residents.get("t", "hot"), 0.9)
    assert residents.used == 1
    residents = book()
    one = merging(residents)
    traffic(one, residents.get("t", "hot"), 0.9)
    newer = tuned("hot", "two")
    assert one.take(newer, 1) is newer
    one.forget("t", "hot")
    assert residents.get("t", "hot" + MERGED) is None


def test_merged_weights_are_the_base_plus_the_adapters_product() -> None:
    rng = np.random.default_rng(0)
    spec = LoraSpec(4, 8.0, ["query", "output"])
    shapes = adapter_shapes(GEOMETRY, spec.targets, spec.rank)
    tensors = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    found = merged(base_weights(), Adapter.build(spec, tensors, GEOMETRY), GEOMETRY)
    changed = [name for name, value in found.items() if value is not base_weights()[name]]
    assert len(changed) == 2 * GEOMETRY.layers
    name = f"{GEOMETRY.linear(3, 'output')}.weight"
    expected = base_weights()[name] + 2.0 * tensors["layers.3.output.B"] @ tensors["layers.3.output.A"]
    np.testing.assert_allclose(found[name], expected, atol=1e-6)


@pytest.mark.slow
def test_an_engine_answers_alike_before_and_after_it_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "WINDOW", 6)
    made = make(tmp_path / "a", "lora", seed=31)
    settings = Settings(Address.parse(f"unix:{tmp_path}/socket"), backend="openvino", precision="fp32")

    async def ask(engine: Engine) -> np.ndarray:
        done = asyncio.get_running_loop().create_future()
        message = wire.Classify(1, "t", "m", TEXTS)
        engine.classify(message, lambda job, error: done.set_exception(error) if error else done.set_result(job.rows))
        return await done

    async def run() -> tuple[np.ndarray, np.ndarray, list[wire.ResidentReport]]:
        engine = Engine(settings)
        engine.start()
        try:
            await engine.load(wire.Load(1, "t", "m", str(made.folder), made.sha256))
            before = await ask(engine)
            for _ in range(WINDOWS):
                await ask(engine)
            await asyncio.wrap_future(engine.loader.spend(lambda: None))  # the copy is made before this
            engine.runner._stackers.clear()
            after = await ask(engine)
            assert not engine.runner._stackers, "the rows went through the copy, which has no adapters"
            return before, after, engine.health(wire.Health(1)).residents
        finally:
            await engine.stop()

    before, after, residents = asyncio.run(run())
    np.testing.assert_allclose(before, reference.probabilities(made, TEXTS), atol=2e-4)
    np.testing.assert_allclose(after, before, atol=2e-4)
    assert {(one.model, one.kind) for one in residents} == {("m", "lora"), ("m" + MERGED, COPY)}
