"""Reading a dataset version, cutting texts, and batches of like length."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.lab.conftest import topic_rows, write_rows
from training.lab.data import Encoded, auto_max_length, encode, length_batches, read_dataset, read_tokenizer, truncate
from training.lab.errors import BadData


def _encoded(rows: list[list[int]]) -> Encoded:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Encoded(np.concatenate([np.array(row, dtype=np.int32) for row in rows]), offsets, cut=0)


def test_labels_are_those_of_the_training_rows_in_order(topics: Path) -> None:
    dataset = read_dataset(topics)
    assert dataset.labels == ["delivery", "login", "refund"]
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (108, 36, 36)


def test_a_label_unseen_in_training_is_marked_and_counted(tmp_path: Path) -> None:
    rows = [*topic_rows(10), ("money for nothing", "songs", "test")]
    dataset = read_dataset(write_rows(tmp_path / "d.parquet", rows))
    assert dataset.unseen == 1
    assert dataset.test.targets[-1] == -1


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "x", "train"), ("b", "x", "validation"), ("c", "x", "test")], "one label only"),
        ([("a", "x", "train"), ("b", "y", "train"), ("c", "x", "test")], "validation split has no rows"),
        ([("a", "x", "train"), ("b", "y", "train"), ("c", "x", "dev")], "only .* are known"),
        (
            [("a", "x", "train"), ("b", "y", "train"), ("c", "z", "validation"), ("d", "x", "test")],
            "No label of the validation split",
        ),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused_with_the_reason(
    tmp_path: Path, rows: list[tuple[str, str, str]], words: str
) -> None:
    with pytest.raises(BadData, match=words):
        read_dataset(write_rows(tmp_path / "d.parquet", rows))


def test_broken_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    with pytest.raises(BadData, match="does not exist"):
        read_dataset(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(BadData, match="not readable Parquet"):
        read_dataset(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(BadData, match="lacks the column"):
        read_dataset(path)
    columns = {"row_id": [1], "text": [None], "label": ["x"], "split": ["train"]}
    pq.write_table(pa.table(columns, schema=_schema()), path)
    with pytest.raises(BadData, match="'text' has 1 empty"):
        read_dataset(path)
    pq.write_table(pa.table({"row_id": ["1"], "text": ["a"], "label": ["x"], "split": ["train"]}), path)
    with pytest.raises(BadData, match="'row_id' has type string; expected int64"):
        read_dataset(path)


def _schema() -> pa.Schema:
    return pa.schema([("row_id", pa.int64()), ("text", pa.string()), ("label", pa.string()), ("split", pa.string())])


def test_the_saved_padding_and_truncation_of_a_tokenizer_are_switched_off(tiny_base: Path) -> None:
    encoded = encode(read_tokenizer(tiny_base), ["please help", "my money " * 20], lambda: None)
    assert encoded.lengths.tolist() == [4, 42]


def test_cut_rows_keep_their_closing_token_and_are_counted() -> None:
    cut = truncate(_encoded([[2, 5, 6, 7, 8, 3], [2, 5, 3]]), 4)
    assert cut.cut == 1
    assert cut.flat.tolist() == [2, 5, 6, 3, 2, 5, 3]


def test_padding_and_mask_agree_with_the_rows() -> None:
    ids, mask = _encoded([[2, 5, 3], [2, 3]]).padded(np.array([1, 0]))
    assert ids.tolist() == [[2, 3, 0], [2, 5, 3]]
    assert mask.tolist() == [[True, True, False], [True, True, True]]


def test_the_automatic_limit_holds_nearly_all_texts() -> None:
    assert auto_max_length(np.array([10] * 99 + [300]), 512) == 128
    assert auto_max_length(np.array([200] * 100), 512) == 256
    assert auto_max_length(np.array([2000] * 100), 512) == 512


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=200),
    batch_size=st.integers(1, 40),
    token_budget=st.integers(64, 600),
    seed=st.integers(0, 1000),
)
def test_batches_hold_every_row_once_within_rows_and_tokens(
    lengths: list[int], batch_size: int, token_budget: int, seed: int
) -> None:
    array = np.array(lengths, dtype=np.int64)

    def draw() -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        return length_batches(array, batch_size=batch_size, token_budget=token_budget, generator=generator)

    batches = draw()
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(batch) <= batch_size for batch in batches)
    assert all(len(batch) * array[batch].max() <= token_budget or len(batch) == 1 for batch in batches)
    assert all(np.array_equal(a, b) for a, b in zip(batches, draw(), strict=True))


def test_epochs_differ_in_order_but_not_in_number_of_batches() -> None:
    lengths = np.random.default_rng(0).integers(3, 30, 300)
    orders = [
        length_batches(lengths, batch_size=32, token_budget=8192, generator=np.random.default_rng([1, epoch]))
        for epoch in range(2)
    ]
    assert len(orders[0]) == len(orders[1])
    assert not np.array_equal(np.concatenate(orders[0]), np.concatenate(orders[1]))


def test_almost_nothing_is_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 2000)
    batches = length_batches(lengths, batch_size=32, token_budget=8192, generator=np.random.default_rng(0))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded / lengths.sum() < 1.03
