"""CLINC150, in-scope, published split: at least the accuracy published for BERT minus 1.5 points."""

from pathlib import Path

import pytest

from benchmarks import clinc150


@pytest.fixture
def source() -> Path:
    found = clinc150.find_source()
    if found is None:
        pytest.skip("CLINC150 is not in this checkout (set TUNESMITH_DATA_DIR)")
    return found


@pytest.mark.realdata
def test_the_published_split_is_read_whole(source: Path) -> None:
    splits = [split for _, _, split in clinc150.rows(source)]
    assert [splits.count(name) for name in ("train", "validation", "test")] == [15_000, 3_000, 4_500]


@pytest.mark.realdata
@pytest.mark.long
def test_full_tuning_reaches_the_published_figure_minus_one_and_a_half_points(source: Path, tmp_path: Path) -> None:
    data = clinc150.write_parquet(source, tmp_path / "clinc150.parquet")
    report = clinc150.train(data, tmp_path / "out", epochs=1, patience=0)
    accuracy = report["test"]["accuracy"]
    assert accuracy["n"] == 4_500
    assert accuracy["value"] >= clinc150.TARGET
    assert report["verdict"]["text_code"] == "better_than_baseline"
    assert report["gate"]["passed"] is True
