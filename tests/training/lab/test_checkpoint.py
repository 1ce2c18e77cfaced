"""Checkpoints: whole, verified, two kept; a damaged one is passed over."""

from pathlib import Path

import pytest

from tests.late import late
from training.lab.errors import BadData

torch, checkpoint = late("torch"), late("training.lab.checkpoint")

pytestmark = pytest.mark.slow  # loads torch


def _write(root: Path, step: int, spec: str = "s") -> Path:
    tensors = {"weights": {"w": torch.full((3,), float(step))}, "random": {"cpu": torch.get_rng_state()}}
    point = checkpoint.Checkpoint(step=step, state={"step": step}, history=[{"event": "step"}], tensors=tensors)
    return checkpoint.write(root, point, spec=spec)[0]


def _flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    folder = _write(tmp_path, 7)
    found = checkpoint.find(folder, spec="s").checkpoint
    assert found is not None
    assert (found.step, found.state, found.history) == (7, {"step": 7}, [{"event": "step"}])
    assert torch.equal(found.tensors["weights"]["w"], torch.full((3,), 7.0))
    assert torch.equal(found.tensors["random"]["cpu"], torch.get_rng_state())


def test_only_the_last_two_are_kept_and_nothing_temporary_is_left(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        _write(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]


@pytest.mark.parametrize("name", ["weights.safetensors", "random.safetensors", "state.json", "manifest.json"])
def test_one_flipped_bit_anywhere_falls_back_to_the_checkpoint_before(tmp_path: Path, name: str) -> None:
    _write(tmp_path, 1)
    newest = _write(tmp_path, 2)
    size = (newest / name).stat().st_size
    for position in {0, size // 2, size - 2}:
        _flip(newest / name, position)
        found = checkpoint.find(newest, spec="s")
        assert found.checkpoint is not None and found.checkpoint.step == 1
        assert len(found.damaged) == 1
        _flip(newest / name, position)
    assert checkpoint.find(tmp_path, spec="s").damaged == []


def test_a_cut_or_missing_file_counts_as_damage(tmp_path: Path) -> None:
    folder = _write(tmp_path, 1)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert checkpoint.find(tmp_path, spec="s").checkpoint is None
    weights.unlink()
    assert "weights.safetensors" in checkpoint.find(tmp_path, spec="s").damaged[0]
    (folder / "manifest.json").unlink()
    assert checkpoint.find(tmp_path, spec="s").checkpoint is None


def test_a_named_checkpoint_is_taken_even_when_a_newer_one_exists(tmp_path: Path) -> None:
    older = _write(tmp_path, 1)
    _write(tmp_path, 2)
    found = checkpoint.find(older, spec="s").checkpoint
    assert found is not None and found.step == 1


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="another configuration"):
        checkpoint.find(_write(tmp_path, 1), spec="other")


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "step-00000001", tmp_path / "nowhere"):
        with pytest.raises(BadData, match="does not exist"):
            checkpoint.find(path, spec="s")
