"""Rows in, batches out: reading the dataset version, tokenising once, batches of like length.

Shapes: N rows of a split, B rows of a batch, L the longest text of the batch in tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.lab.errors import BadData

COLUMNS = ("row_id", "text", "label", "split")
SPLITS = ("train", "validation", "test")
_TOKENISE_CHUNK = 4096

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of one split. `targets` [N] are indices into the dataset's labels; -1 is a label unseen in training."""

    row_ids: list[int]
    texts: list[str]
    names: list[str]
    targets: Rows

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset version: the labels seen in training, in order, and the three splits."""

    labels: list[str]
    train: Split
    validation: Split
    test: Split

    @property
    def unseen(self) -> int:
        """Validation and test rows whose label never occurs in training."""
        return int((self.validation.targets < 0).sum() + (self.test.targets < 0).sum())


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a split, one after another: row i is flat[offsets[i]:offsets[i + 1]]."""

    flat: NDArray[np.int32]
    offsets: Rows
    cut: int  # rows that were longer than the limit

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Rows:
        """Tokens per row [N]."""
        return np.diff(self.offsets)

    def padded(self, rows: Rows, vocabulary: Rows | None = None) -> tuple[Rows, NDArray[np.bool_]]:
        """Ids [B, L] and the mask of real tokens [B, L]; `vocabulary` maps ids to rows of a trimmed table."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        mask = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = np.concatenate([self.flat[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        if vocabulary is not None:
            ids = vocabulary[ids]
        return ids, mask


def read_dataset(path: str | Path) -> Dataset:
    """Read and check a dataset version's Parquet file. Raises BadData saying what is wrong."""
    table = _read_table(path)
    splits = table["split"].to_pylist()
    if strange := sorted({str(name) for name in splits} - set(SPLITS)):
        raise BadData(f"Column 'split' holds {strange[:5]}; only {list(SPLITS)} are known.")
    texts, names, row_ids = table["text"].to_pylist(), table["label"].to_pylist(), table["row_id"].to_pylist()
    where = {name: [i for i, split in enumerate(splits) if split == name] for name in SPLITS}
    for name, rows in where.items():
        if not rows:
            raise BadData(f"The {name} split has no rows; each of {list(SPLITS)} needs some.")
    labels = sorted({names[i] for i in where["train"]})
    if len(labels) < 2:
        raise BadData(f"The training rows carry one label only ({labels[0]!r}); a classifier needs at least two.")
    index = {label: i for i, label in enumerate(labels)}

    def split(name: str) -> Split:
        rows = where[name]
        targets = np.array([index.get(names[i], -1) for i in rows], dtype=np.int64)
        return Split([row_ids[i] for i in rows], [texts[i] for i in rows], [names[i] for i in rows], targets)

    dataset = Dataset(labels, split("train"), split("validation"), split("test"))
    for name, part in (("validation", dataset.validation), ("test", dataset.test)):
        if (part.targets < 0).all():
            raise BadData(f"No label of the {name} split occurs in the training rows, so nothing can be measured.")
    return dataset


def _read_table(path: str | Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise BadData("The data file does not exist.") from error
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"The data file is not readable Parquet: {str(error)[:200]}") from error
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise BadData(f"The data file lacks the column(s) {missing}; it needs {list(COLUMNS)}.")
    for name in COLUMNS:
        column = table[name]
        right = pa.types.is_integer(column.type) if name == "row_id" else _is_text(column.type)
        if not right:
            wanted = "int64" if name == "row_id" else "string"
            raise BadData(f"Column '{name}' has type {column.type}; expected {wanted}.")
        if column.null_count:
            raise BadData(f"Column '{name}' has {column.null_count} empty value(s); every row needs one.")
    return table.select(COLUMNS)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def read_tokenizer(base: str | Path) -> Tokenizer:
    """The base's tokenizer, without the padding and the truncation it was saved with. Shared: leave it as it is."""
    path = Path(base) / "tokenizer.json"
    if not path.is_file():
        raise BadData("The base has no tokenizer.json.")
    return _tokenizer(str(path), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _tokenizer(path: str, changed: int) -> Tokenizer:
    """Read once: that takes fifty milliseconds, and jobs are estimated all day over the same few bases."""
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], check: Callable[[], None]) -> Encoded:
    """Tokenise whole texts once, special tokens included; `check` is called between chunks and may raise."""
    parts: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _TOKENISE_CHUNK):
        check()
        chunk = list(texts[start : start + _TOKENISE_CHUNK])
        parts += [np.array(item.ids, dtype=np.int32) for item in tokenizer.encode_batch(chunk)]
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return Encoded(np.concatenate(parts), offsets, cut=0)


def truncate(encoded: Encoded, limit: int) -> Encoded:
    """Cut longer rows to `limit` tokens, keeping each row's last (closing) token, and count them."""
    lengths = encoded.lengths
    if lengths.max() <= limit:
        return encoded
    keep = np.minimum(lengths, limit)
    offsets = np.zeros_like(encoded.offsets)
    np.cumsum(keep, out=offsets[1:])
    flat = np.empty(int(offsets[-1]), dtype=np.int32)
    for row, (start, stop) in enumerate(zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)):
        piece = encoded.flat[start : start + keep[row]].copy()
        piece[-1] = encoded.flat[stop - 1]
        flat[offsets[row] : offsets[row + 1]] = piece
    return Encoded(flat, offsets, cut=int((lengths > limit).sum()))


def auto_max_length(lengths: Rows, ceiling: int) -> int:
    """The smallest of 128, 256, 512, … that holds 99 % of the texts, within what the base can read."""
    wanted, limit = float(np.quantile(lengths, 0.99)), 128
    while limit < wanted and limit < ceiling:
        limit *= 2
    return min(limit, ceiling)


def length_batches(
    lengths: Rows, *, batch_size: int, token_budget: int, generator: np.random.Generator | None
) -> list[Rows]:
    """Row numbers in batches of like length, so that almost nothing is padding.

    Rows are sorted by length (ties at random), cut into nearly equal batches of at most `batch_size` rows and
    `token_budget` tokens with padding, and the batches are shuffled. Without a generator: plain sorted order.
    """
    n = len(lengths)
    ties = generator.permutation(n) if generator is not None else np.arange(n)
    order = np.lexsort((ties, lengths))
    even = -(-n // -(-n // batch_size))
    batches, start = [], 0
    while start < n:
        size = min(even, n - start)
        while size > 1 and size * lengths[order[start + size - 1]] > token_budget:
            size -= 1
        batches.append(order[start : start + size])
        start += size
    if generator is not None:
        batches = [batches[i] for i in generator.permutation(len(batches))]
    return batches
