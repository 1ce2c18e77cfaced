"""Every backend installed computes what the reference does: bare, with adapters, and with the first token alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from inference import backends, reference, trial
from inference.adapters import Adapter, Stacker
from inference.artefact import LoraSpec
from inference.geometry import TARGETS, adapter_shapes
from inference.hot import merged
from tests.inference.artefacts import GEOMETRY, base_weights

pytestmark = pytest.mark.slow

FOUND = [(name, precision) for name in backends.installed() for precision in backends.PRECISIONS[name]]


def adapter(seed: int, targets: tuple[str, ...]) -> Adapter:
    rng = np.random.default_rng(seed)
    spec = LoraSpec(4, 8.0, list(targets))
    shapes = adapter_shapes(GEOMETRY, targets, spec.rank)
    tensors = {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    return Adapter.build(spec, tensors, GEOMETRY)


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest length of a difference between unit vectors."""
    found, expected = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (found, expected))
    return float(np.linalg.norm(found - expected, axis=1).max())


@pytest.mark.parametrize(("name", "precision"), FOUND)
def test_a_backend_computes_what_the_reference_does(name: str, precision: str) -> None:
    backend = backends.choose(name, device="cpu", precision=precision)
    encoder = backend.encoder(base_weights(), GEOMETRY, adapters=True)
    ids, mask = trial.batch(6, 24, GEOMETRY, ragged=True)
    near = trial.TOLERANCE[precision]
    plain = reference.encode(base_weights(), GEOMETRY, ids, mask)
    assert apart(encoder.encode(ids, mask, None), plain) < near
    one, two = adapter(1, TARGETS), adapter(2, ("query", "output"))
    rows = [one, None, two, two, None, one]
    expected = plain.copy()
    for each in (one, two):
        with_it = reference.encode(merged(base_weights(), each, GEOMETRY), GEOMETRY, ids, mask)
        mine = [index for index, row in enumerate(rows) if row is each]
        expected[mine] = with_it[mine]
    plan = Stacker(GEOMETRY).plan(rows)
    assert apart(expected, plain) > 0.1, "the adapters change what is computed"
    assert apart(encoder.encode(ids, mask, plan), expected) < near
    first = np.zeros_like(mask)
    first[:, 0] = 1.0
    assert apart(encoder.encode(ids, mask, None, first), plain) > near
    alone = encoder.encode(ids[:1], mask[:1], None, first[:1])
    assert apart(encoder.encode(ids, mask, None, first)[:1], alone) < near


@pytest.mark.parametrize(("name", "precision"), FOUND)
def test_a_backend_gives_the_vector_of_every_token_of_pairs_as_well(name: str, precision: str) -> None:
    backend = backends.choose(name, device="cpu", precision=precision)
    ids, mask = trial.batch(4, 24, GEOMETRY, ragged=True)
    types = (np.arange(24)[None, :] >= np.array([0, 3, 9, 24])[:, None]).astype(np.int32)
    near, seen = trial.TOLERANCE[precision], mask.astype(bool)
    one = adapter(1, TARGETS)
    plan = Stacker(GEOMETRY).plan([one, None, None, one])
    plain = reference.states(base_weights(), GEOMETRY, ids, mask, types)
    expected = plain.copy()
    with_it = reference.states(merged(base_weights(), one, GEOMETRY), GEOMETRY, ids, mask, types)
    expected[[0, 3]] = with_it[[0, 3]]
    untyped = reference.states(base_weights(), GEOMETRY, ids, mask)
    assert apart(plain[seen], untyped[seen]) > 5 * near, "the types change what is computed"
    shared = backend.encoder(base_weights(), GEOMETRY, adapters=True)
    own = backend.encoder(base_weights(), GEOMETRY, adapters=False, tokens=True)
    for encoder in (shared, own):
        assert apart(encoder.states(ids, mask, None, types)[seen], plain[seen]) < near
        assert apart(encoder.states(ids, mask, None)[seen], untyped[seen]) < near
        assert apart(encoder.encode(ids, mask, None), reference.encode(base_weights(), GEOMETRY, ids, mask)) < near
    assert apart(shared.states(ids, mask, plan, types)[seen], expected[seen]) < near


@pytest.mark.parametrize(("name", "precision"), FOUND)
def test_lanes_compute_at_once_without_mixing_their_adapters(name: str, precision: str) -> None:
    backend = backends.choose(name, device="cpu", precision=precision)
    encoder = backend.encoder(base_weights(), GEOMETRY, adapters=True)
    ids, mask = trial.batch(2, 16, GEOMETRY)
    plans = [Stacker(GEOMETRY).plan([adapter(seed, ("query", "value"))] * 2) for seed in (3, 4)]
    alone = [encoder.encode(ids, mask, plan) for plan in plans]
    assert apart(alone[0], alone[1]) > trial.TOLERANCE[precision]
    found: list[list[np.ndarray]] = [[], []]

    def lane(place: int) -> None:
        for _ in range(15):
            found[place].append(encoder.encode(ids, mask, plans[place]))

    threads = [threading.Thread(target=lane, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(2):
        assert max(apart(rows, alone[place]) for rows in found[place]) < trial.TOLERANCE["fp32"]


def test_whatever_shapes_come_a_graph_keeps_a_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("inference.backends.openvino_backend")
    monkeypatch.setattr(openvino, "KEPT_SHAPES", 3)
    backend = backends.choose("openvino", device="cpu", precision="fp32")
    compiled: list[object] = []
    compile_one = backend.compile

    def counted(model: object, *, apart: bool) -> object:
        compiled.append(model)
        return compile_one(model, apart=apart)

    monkeypatch.setattr(backend, "compile", counted)
    encoder = backend.encoder(base_weights(), GEOMETRY, adapters=True)
    one = adapter(1, TARGETS)
    begun = len(compiled)
    for tokens in range(4, 14):
        ids, mask = trial.batch(3, tokens, GEOMETRY)
        for _ in range(2):  # what it has met costs nothing
            assert apart(encoder.encode(ids, mask, None), reference.encode(base_weights(), GEOMETRY, ids, mask)) < 0.002
    assert len(compiled) - begun == 3, "ten shapes, three at a time"
    with_it = merged(base_weights(), one, GEOMETRY)
    for tokens in range(4, 9):
        ids, mask = trial.batch(2, tokens, GEOMETRY)
        found = encoder.encode(ids, mask, Stacker(GEOMETRY).plan([one, one]))
        assert apart(found, reference.encode(with_it, GEOMETRY, ids, mask)) < 0.002
    assert len(compiled) - begun == 5, "the graph with adapters, and once anew"
