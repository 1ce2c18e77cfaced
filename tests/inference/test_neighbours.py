"""Nearest rows of the training data: exact, bounded in memory, and only from files as the format asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from inference import neighbours
from inference.artefact import read_manifest
from inference.errors import BadArtefact, BadRequest
from inference.neighbours import Shelf
from tests.inference.artefacts import GEOMETRY, Made, make, rewrite
from tests.inference.conftest import EngineProcess, running

ROWS, H = 900, GEOMETRY.hidden


def vectors(rows: int = ROWS, *, seed: int = 0, hidden: int = H) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(rows, hidden)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def with_rows(folder: Path, **changes: np.ndarray) -> Made:
    """An artefact with a file of neighbours, or with a broken one."""
    made = make(folder)
    found = vectors()
    tensors = {
        "vectors": found.astype(np.float16),
        "rows": np.arange(ROWS, dtype=np.int64) * 3 + 7,
        "labels": (np.arange(ROWS) % 5).astype(np.int32),
    }
    tensors |= changes
    save_file({key: value for key, value in tensors.items() if value is not None}, folder / "neighbours.safetensors")
    rewrite(made)
    return made


def test_the_nearest_rows_are_those_of_a_search_through_all(tmp_path: Path) -> None:
    made = with_rows(tmp_path / "a")
    kept = neighbours.read(made.folder, read_manifest(made.folder, made.sha256))
    exact = vectors().astype(np.float16).astype(np.float64)
    for seed in range(5):
        query = vectors(1, seed=100 + seed)[0]
        rows, labels, cosines = kept.nearest(query, 12)
        expected = exact @ query
        order = np.argsort(-expected)[:12]
        assert rows == (order * 3 + 7).tolist()
        assert labels == (order % 5).tolist()
        np.testing.assert_allclose(cosines, expected[order], atol=1e-5)
    assert len(kept.nearest(query, 10_000)[0]) == ROWS
    with pytest.raises(BadRequest, match="numbers"):
        kept.nearest(np.ones(3, np.float32), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": vectors()},  # float32
        {"vectors": np.full((ROWS, H), np.nan, np.float16)},
        {"vectors": vectors(ROWS - 1).astype(np.float16)},
        {"vectors": np.zeros((0, H), np.float16), "rows": np.zeros(0, np.int64), "labels": np.zeros(0, np.int32)},
        {"rows": np.arange(ROWS, dtype=np.int32)},
        {"labels": np.full(ROWS, 5, np.int32)},
        {"labels": np.full(ROWS, -1, np.int32)},
        {"labels": None},
        {"more": np.zeros(1, np.float32)},
    ],
)
def test_a_file_that_is_not_as_the_format_asks_is_refused(tmp_path: Path, changes: dict) -> None:
    made = with_rows(tmp_path / "a", **changes)
    with pytest.raises(BadArtefact, match=r"neighbours\.safetensors"):
        neighbours.read(made.folder, read_manifest(made.folder, made.sha256))


def test_a_file_that_was_changed_or_is_not_there_is_refused(tmp_path: Path) -> None:
    made = with_rows(tmp_path / "a")
    path = made.folder / "neighbours.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadArtefact, match="damaged"):
        neighbours.read(made.folder, read_manifest(made.folder, made.sha256))
    without = make(tmp_path / "b")
    with pytest.raises(BadArtefact, match="does not list"):
        neighbours.read(without.folder, read_manifest(without.folder, without.sha256))


def test_the_shelf_keeps_to_its_budget_and_reads_again_what_it_forgot(tmp_path: Path) -> None:
    made = [with_rows(tmp_path / str(i), rows=np.arange(ROWS, dtype=np.int64) + i) for i in range(3)]
    one = neighbours.read(made[0].folder, read_manifest(made[0].folder, made[0].sha256)).bytes
    shelf, read = Shelf(2 * one), []

    def take(i: int, tenant: str = "t") -> None:
        def folder() -> Path:
            read.append(i)
            return made[i].folder

        assert shelf.take(tenant, made[i].sha256, folder).rows[0] == i
        assert shelf.used <= 2 * one

    for i in (0, 1, 0, 2, 0, 1):
        take(i)
    assert read == [0, 1, 2, 1], "the one used longest ago went"
    take(0, tenant="other")
    assert read[-1] == 0, "what one tenant brought in is not another's"
    small = Shelf(one - 1)
    small.take("t", made[0].sha256, lambda: made[0].folder)
    assert small.used == 0


@pytest.fixture(scope="module")
def engine() -> EngineProcess:
    with running("--precision", "fp32", "--backend", "openvino") as process:
        yield process


@pytest.mark.slow  # starts a real process
def test_the_engine_answers_without_the_model_in_memory(engine: EngineProcess, tmp_path: Path) -> None:
    made = with_rows(tmp_path / "a")
    query = vectors()[17]
    with engine.client() as client:
        asked = {"tenant": "t", "sha256": made.sha256, "folder": str(made.folder)}
        found = client.nearest(vector=query.tobytes(), k=3, **asked)
        assert (found.rows[0], found.labels[0]) == (17 * 3 + 7, 17 % 5)
        assert found.similarities[0] == pytest.approx(1, abs=1e-3)
        for vector, k, words in ((b"abc", 3, "float32"), (query.tobytes(), 0, "1 to 100"), (b"\0" * 8, 3, "numbers")):
            with pytest.raises(BadRequest, match=words):
                client.nearest(vector=vector, k=k, **asked)
        with pytest.raises(BadArtefact):
            client.nearest(vector=query.tobytes(), k=3, **asked | {"sha256": "0" * 64})
        assert client.health().resident_bytes == 0
