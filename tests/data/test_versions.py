"""Split, fixes and the version file: seeded, stratified, without leaks, and the same bytes of content every time."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.fixes import FixError, plan_of
from data.split import Fractions, assign
from data.writer import CannotWrite, Part, write_version

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_intents.csv"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), min_size=1, max_size=120),
    seed=st.integers(0, 2**31),
)
def test_a_group_never_straddles_the_split_and_order_does_not_matter(rows: list[tuple[int, int]], seed: int) -> None:
    labels = np.array([label for label, _ in rows])
    groups = np.array([[other for _, other in rows].index(group) for _, group in rows])
    keys = np.array([group for _, group in rows])
    split = assign(labels, groups, keys, seed=seed)
    by_group = {}
    for group, side in zip(keys.tolist(), split.tolist(), strict=True):
        assert by_group.setdefault(group, side) == side
    shuffled = np.random.default_rng(1).permutation(len(rows))
    again_groups = np.array([[keys[i] for i in shuffled].index(keys[i]) for i in shuffled])
    if len(set(zip(labels.tolist(), keys.tolist(), strict=True))) == len(set(keys.tolist())):
        again = assign(labels[shuffled], again_groups, keys[shuffled], seed=seed)
        assert again.tolist() == split[shuffled].tolist()


def test_the_split_is_stratified_and_tiny_classes_keep_training_rows() -> None:
    labels = np.array([0] * 100 + [1] * 50 + [2] * 3 + [3] * 2 + [4])
    rows = np.arange(len(labels))
    split = assign(labels, rows, rows)
    per_label = {label: Counter(split[labels == label].tolist()) for label in range(5)}
    assert per_label[0] == {0: 80, 1: 10, 2: 10}
    assert per_label[1] == {0: 40, 1: 5, 2: 5}
    assert per_label[2] == {0: 1, 1: 1, 2: 1}
    assert per_label[3] == {0: 1, 2: 1}
    assert per_label[4] == {0: 1}


def test_another_seed_gives_another_split() -> None:
    rows = np.arange(200)
    labels = rows % 4
    assert assign(labels, rows, rows, seed=1).tolist() != assign(labels, rows, rows, seed=2).tolist()


def test_a_given_test_set_stays_and_validation_is_cut_from_training() -> None:
    rows = np.arange(100)
    given_split = np.where(rows < 30, 2, 0)
    split = assign(rows % 2, rows, rows, given=given_split)
    assert (split[:30] == 2).all()
    assert Counter(split[30:].tolist()) == {0: 62, 1: 8}


def test_shares_that_leave_no_training_are_refused() -> None:
    with pytest.raises(ValueError, match="shares"):
        Fractions(0.5, 0.5)


MERGE = {"Refund_Status": "refund_status", "cancel_subscripton": "cancel_subscription"}


def test_a_version_has_the_promised_columns_and_row_ids_as_uploaded(tmp_path: Path) -> None:
    written = write_version([Part(EXAMPLE)], tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "row_id": "int64", "text": "string", "label": "string", "split": "string",
    }  # fmt: skip
    with EXAMPLE.open(newline="", encoding="utf-8") as file:
        uploaded = list(csv.DictReader(file))
    for row in table.to_pylist():
        original = uploaded[row["row_id"] - 1]
        assert (row["text"], row["label"]) == (original["text"], original["label"])
    assert written.rows == table.num_rows == len(uploaded)
    assert sum(written.splits.values()) == written.rows


def test_no_text_stands_on_two_sides_of_the_split(tmp_path: Path) -> None:
    write_version([Part(EXAMPLE)], tmp_path / "v.parquet")
    sides: dict[str, set[str]] = {}
    for row in pq.read_table(tmp_path / "v.parquet").to_pylist():
        sides.setdefault("".join(filter(str.isalnum, row["text"].casefold())), set()).add(row["split"])
    assert all(len(split) == 1 for split in sides.values())


def test_the_content_hash_is_the_same_each_time_and_changes_with_the_seed(tmp_path: Path) -> None:
    hashes = [write_version([Part(EXAMPLE)], tmp_path / f"{i}.parquet", seed=seed).content_sha256
              for i, seed in enumerate([7, 7, 8])]  # fmt: skip
    assert hashes[0] == hashes[1] != hashes[2]


def test_fixes_do_what_they_say_and_count_what_they_drop(tmp_path: Path) -> None:
    plan = plan_of([{"fix": "trim"}, {"fix": "drop_duplicates"}, {"fix": "drop_conflicts"},
                    {"fix": "merge_labels", "labels": MERGE}])  # fmt: skip
    written = write_version([Part(EXAMPLE)], tmp_path / "v.parquet", plan=plan)
    assert written.dropped["drop_conflicts"] == 8
    assert 20 <= written.dropped["drop_duplicates"] <= 25
    assert len(written.labels) == 18
    texts = [row["text"] for row in pq.read_table(tmp_path / "v.parquet").to_pylist()]
    assert all(text == text.strip() for text in texts)
    assert len(set(texts)) == len(texts)


def test_unusable_rows_go_only_when_told_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    body = "".join(f"text number {i} {'xyz' * (i % 7)},{'a' if i % 2 else 'b'}\n" for i in range(40))
    path.write_text("text,label\n,a\nragged\nfine text,\n" + body)
    with pytest.raises(CannotWrite, match="3 rows cannot be used") as refused:
        write_version([Part(path)], tmp_path / "v.parquet")
    assert refused.value.code in ("empty_label", "empty_text", "ragged_rows")
    written = write_version([Part(path)], tmp_path / "v.parquet", plan=plan_of([{"fix": "drop_bad_rows"}]))
    assert written.dropped == {"unusable:empty_label": 1, "unusable:empty_text": 1, "unusable:ragged_rows": 1}
    assert pq.read_table(tmp_path / "v.parquet")["row_id"].to_pylist()[0] == 4


def test_several_files_make_one_version_with_their_splits(tmp_path: Path) -> None:
    for name, start in (("train", 0), ("test", 1000)):
        body = "".join(f"{name} text {i * 37} {i},{'a' if i % 2 else 'b'}\n" for i in range(start, start + 40))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + body)
    parts = [Part(tmp_path / "train.csv"), Part(tmp_path / "test.csv", split="test")]
    written = write_version(parts, tmp_path / "v.parquet")
    assert written.splits["test"] == 40
    assert written.splits["validation"] > 0
    ids = pq.read_table(tmp_path / "v.parquet")["row_id"].to_pylist()
    assert ids == list(range(1, 81))


def test_what_is_left_must_be_trainable(tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    path.write_text("text,label\n" + "".join(f"text {i},a\n" for i in range(40)))
    with pytest.raises(CannotWrite) as refused:
        write_version([Part(path)], tmp_path / "v.parquet")
    assert refused.value.code == "single_class"
    with pytest.raises(CannotWrite):
        write_version([Part(path, columns={"text": "text", "label": "label"})], tmp_path / "v.parquet",
                      plan=plan_of([{"fix": "drop_small_classes"}, {"fix": "drop_duplicates"}]))  # fmt: skip


@pytest.mark.parametrize(
    "steps",
    [
        [{"fix": "magic"}],
        [{}],
        [{"fix": "trim", "labels": {}}],
        [{"fix": "merge_labels"}],
        [{"fix": "merge_labels", "labels": {"a": ""}}],
        [{"fix": "merge_labels", "labels": {"a": "b", "b": "a"}}],
        [{"fix": "trim", "extra": 1}],
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(steps: list[dict[str, object]]) -> None:
    with pytest.raises(FixError):
        plan_of(steps)


def test_merges_follow_chains() -> None:
    plan = plan_of([{"fix": "merge_labels", "labels": {"a": "b", "b": "c"}}])
    assert plan.labels == {"a": "c", "b": "c"}
