"""Conversations, and prompts with completions: rows in, tokens out with a mark on each that is a reply. No torch.

A reply is what the assistant says in a message whose `weight` is not 0, or a `completion`; the token that ends it is
part of it, so that a model learns to stop. Nothing else is learnt. What follows the last reply is not read at all.

Shapes: N rows of a split, T tokens of all of them, B rows of a batch, L tokens of its longest row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from inference.chat import Voice, render
from inference.errors import BadRequest
from training.lab.data import SPLITS, Rows
from training.lab.errors import BadData

CHAT, PAIRS = ("messages", "tools"), ("prompt", "completion")
SHAPES = {"chat": CHAT, "prompt-completion": PAIRS}
"""Columns between row_id and split, by the task of the dataset version."""
LONGEST = 8192
"""Tokens of a row at most, whatever the base reads: a batch has to hold one."""
_CHUNK = 1024

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Text:
    """One row as text. `replies` are its spans (characters) in order; `bare` texts want the tokenizer's own special
    tokens, others hold theirs already. `unlearnt` answers could not be told apart from what surrounds them."""

    text: str
    replies: tuple[Span, ...]
    bare: bool
    unlearnt: int = 0


@dataclass(frozen=True, slots=True)
class Dialogues:
    """A dataset version: per split the row ids, and the rows as they were written."""

    row_ids: dict[str, list[int]]
    rows: dict[str, list[tuple[str, str | None]]]
    chat: bool

    def count(self, split: str) -> int:
        """Rows of a split."""
        return len(self.row_ids[split])


@dataclass(frozen=True, slots=True)
class Marked:
    """Token ids [T] of a split, one row after another, and which are replies [T]: row i is offsets[i]:offsets[i + 1].

    `kept` [N] are the split's rows that are here: one whose reply lies wholly beyond the limit has nothing to learn.
    """

    flat: NDArray[np.int32]
    replies: NDArray[np.bool_]
    offsets: Rows
    kept: Rows
    cut: int
    silent: int
    unlearnt: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Rows:
        """Tokens per row [N]."""
        return np.diff(self.offsets)

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Ids and reply marks of one row."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self.flat[part], self.replies[part]

    def padded(self, rows: Rows) -> tuple[Rows, NDArray[np.bool_], NDArray[np.bool_]]:
        """Ids [B, L], the mask of real tokens [B, L], and the mask of reply tokens [B, L]."""
        lengths = self.lengths[rows]
        mask = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
        ids, replies = np.zeros(mask.shape, dtype=np.int64), np.zeros(mask.shape, dtype=bool)
        places = np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])
        ids[mask], replies[mask] = self.flat[places], self.replies[places]
        return ids, mask, replies


def read_dialogues(path: str | Path) -> Dialogues:
    """Read a dataset version's Parquet file. Raises BadData saying what is wrong."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise BadData("The data file does not exist.") from error
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"The data file is not readable Parquet: {str(error)[:200]}") from error
    columns = next((names for names in SHAPES.values() if names[0] in table.column_names), None)
    if columns is None or (missing := [one for one in ("row_id", *columns, "split") if one not in table.column_names]):
        wanted = " or ".join(str(["row_id", *names, "split"]) for names in SHAPES.values())
        raise BadData(f"The data file lacks the column(s) {missing if columns else ''}; it needs {wanted}.")
    splits = table["split"].to_pylist()
    if strange := sorted({str(name) for name in splits} - set(SPLITS)):
        raise BadData(f"Column 'split' holds {strange[:5]}; only {list(SPLITS)} are known.")
    first, second, ids = (table[name].to_pylist() for name in (*columns, "row_id"))
    where = {name: [i for i, split in enumerate(splits) if split == name] for name in SPLITS}
    for name, rows in where.items():
        if not rows:
            raise BadData(f"The {name} split has no rows; each of {list(SPLITS)} needs some.")
    return Dialogues(
        row_ids={name: [ids[i] for i in rows] for name, rows in where.items()},
        rows={name: [(first[i], second[i]) for i in rows] for name, rows in where.items()},
        chat=columns == CHAT,
    )


def text_of(row: tuple[str, str | None], voice: Voice, *, chat: bool) -> Text:
    """A row as the base is to read it. Raises BadData where its template refuses the row."""
    if not chat:
        prompt, completion = row[0], row[1] or ""
        return Text(prompt + completion, ((len(prompt), len(prompt) + len(completion)),), bare=True)
    try:
        messages, tools = json.loads(row[0]), json.loads(row[1]) if row[1] else None
        return _conversation(messages, tools, voice)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadData("A row's messages are not the JSON that a dataset version holds.") from error
    except BadRequest as error:
        raise BadData(error.message) from error


def _conversation(messages: Sequence[dict[str, Any]], tools: Any, voice: Voice) -> Text:
    """Up to the last answer that counts. Where an answer begins is where a prompt for it would end."""
    learnt = [i for i, one in enumerate(messages) if one["role"] == "assistant" and one.get("weight") != 0]
    if not learnt:
        return Text("", (), bare=False)

    def told(count: int, *, asks: bool = False) -> str:
        some = messages[:count]
        return render(some, template=voice.template, tools=tools, add_generation_prompt=asks, special=voice.special)

    whole = told(learnt[-1] + 1)
    spans: list[Span] = []
    for index in learnt:
        upto = whole if index == learnt[-1] else told(index + 1)
        prompt = told(index, asks=True)
        begin, end = _alike(prompt, whole), _alike(upto, whole)
        # A template may end a prompt with what no answer has (the beginning of a thought), not change what was said.
        asked = begin == len(prompt) or whole.startswith(told(index))
        # It may write an answer otherwise once more follows it: without its thoughts, for instance.
        if asked and begin < end and end >= len(upto.rstrip()) and (not spans or begin >= spans[-1][1]):
            spans.append((begin, end))
    return Text(whole, tuple(spans), bare=False, unlearnt=len(learnt) - len(spans))


def _alike(text: str, whole: str) -> int:
    """Characters that both begin with."""
    if whole.startswith(text):
        return len(text)
    return next((at for at, (one, other) in enumerate(zip(text, whole, strict=False)) if one != other), len(whole))


def end_of(tokenizer: Tokenizer, voice: Voice) -> int:
    """The token that ends a reply: the first that the base names, or the tokenizer's own. Raises BadData for none."""
    if voice.ends:
        return voice.ends[0]
    own = tokenizer.token_to_id(voice.special.get("eos_token", ""))
    if own is not None:
        return int(own)
    raise BadData(
        "The base names no end token, so a model could not learn to stop: its tokenizer_config.json needs an eos_token."
    )


def encode_dialogues(
    tokenizer: Tokenizer,
    voice: Voice,
    rows: Sequence[tuple[str, str | None]],
    *,
    row_ids: Sequence[int],
    chat: bool,
    limit: int,
    check: Callable[[], None],
) -> Marked:
    """Tokens and marks of rows, cut to `limit` tokens at their ends. `check` is called between chunks and may raise."""
    end = end_of(tokenizer, voice)
    ends = np.array(sorted({end, *voice.ends}), dtype=np.int32)
    parts: list[tuple[NDArray[np.int32], NDArray[np.bool_]]] = []
    kept: list[int] = []
    cut = unlearnt = 0
    for start in range(0, len(rows), _CHUNK):
        check()
        some = zip(row_ids[start : start + _CHUNK], rows[start : start + _CHUNK], strict=True)
        texts = [_named(row_id, row, voice, chat) for row_id, row in some]
        unlearnt += sum(text.unlearnt for text in texts)
        for index, (ids, marks) in enumerate(_encoded(tokenizer, texts), start):
            ids, marks = _closed(ids, marks, ends, end)
            cut += len(ids) > limit
            ids, marks = ids[:limit], marks[:limit]
            if marks.any():
                parts.append((ids, marks))
                kept.append(index)
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids, _ in parts], out=offsets[1:])
    return Marked(
        flat=np.concatenate([ids for ids, _ in parts]) if parts else np.zeros(0, np.int32),
        replies=np.concatenate([marks for _, marks in parts]) if parts else np.zeros(0, bool),
        offsets=offsets,
        kept=np.array(kept, dtype=np.int64),
        cut=cut,
        silent=len(rows) - len(kept),
        unlearnt=unlearnt,
    )


def _named(row_id: int, row: tuple[str, str | None], voice: Voice, chat: bool) -> Text:
    try:
        return text_of(row, voice, chat=chat)
    except BadData as error:
        raise BadData(f"Row {row_id}: {error}") from error


def _encoded(tokenizer: Tokenizer, texts: Sequence[Text]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.bool_]]]:
    if not texts:
        return
    found = tokenizer.encode_batch([text.text for text in texts], add_special_tokens=texts[0].bare)
    for text, encoding in zip(texts, found, strict=True):
        yield _marks(encoding, text) or _in_pieces(tokenizer, text)


def _marks(encoding: Encoding, text: Text) -> tuple[NDArray[np.int32], NDArray[np.bool_]] | None:
    """The tokens inside the replies; None where one begins before its reply does."""
    places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    marks = np.zeros(len(places), dtype=bool)
    for begin, end in text.replies:
        inside = (places[:, 1] > begin) & (places[:, 0] < end) & (places[:, 1] > places[:, 0])
        if (places[inside, 0] < begin).any():
            return None
        marks |= inside
    return np.array(encoding.ids, dtype=np.int32), marks


def _in_pieces(tokenizer: Tokenizer, text: Text) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Prompts and replies each by themselves, as serving tokenises them: a prompt ends in the middle of a word."""
    borders = [0, *(place for span in text.replies for place in span), len(text.text)]
    ids: list[int] = []
    marks: list[bool] = []
    for number in range(len(borders) - 1):
        piece = text.text[borders[number] : borders[number + 1]]
        found = tokenizer.encode(piece, add_special_tokens=text.bare and number == 0).ids if piece else []
        ids += found
        marks += [number % 2 == 1] * len(found)
    return np.array(ids, dtype=np.int32), np.array(marks, dtype=bool)


def _closed(
    ids: NDArray[np.int32], marks: NDArray[np.bool_], ends: NDArray[np.int32], end: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """A row whose replies stop at their end token, the last of which is given one if it has none, and which is over
    then. The first token is never learnt: nothing stands before it."""
    marks = marks.copy()
    marks[:1] = False
    if not marks.any():
        return ids, marks
    is_end = np.isin(ids, ends)
    begins = np.flatnonzero(marks & ~np.concatenate(([False], marks[:-1])))
    for begin in begins:
        after = begin + (np.argmin(marks[begin:]) if not marks[begin:].all() else len(marks) - begin)
        stops = np.flatnonzero(is_end[begin:after])
        if len(stops):
            marks[begin + stops[0] + 1 : after] = False
    last = int(np.flatnonzero(marks)[-1])
    ids, marks = ids[: last + 1], marks[: last + 1]
    if not is_end[last]:
        ids, marks = np.append(ids, np.int32(end)), np.append(marks, True)
    return ids, marks
