"""What is remembered of each usable row while a file streams past: numbers and hashes, never the text.

About 50 bytes a row, and 256 more for the first `NEAR_ROWS` rows, whose signatures find near duplicates.
"""

from __future__ import annotations

from array import array
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from data.example import Example, fold, key
from data.similar import Groups, Signer, group, group_own_words
from data.talk import Talk

NEAR_ROWS = 200_000
TOKEN_BATCH = 512
SPLITS = ("train", "validation", "test")


@cache
def _loaded(path: Path) -> Tokenizer:
    """A tokenizer that neither cuts nor pads; reading one takes as long as counting a thousand texts."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class TokenCounter:
    """Counts tokens in batches with a Hugging Face tokenizer file; texts are neither cut nor padded."""

    def __init__(self, tokenizer: Path) -> None:
        """Load `tokenizer` (a tokenizer.json)."""
        self._tokenizer = _loaded(tokenizer)
        self._waiting: list[str] = []
        self.counts = array("i")

    def add(self, text: str) -> None:
        """Take one text."""
        self._waiting.append(text)
        if len(self._waiting) >= TOKEN_BATCH:
            self.flush()

    def flush(self) -> None:
        """Count what is waiting."""
        if self._waiting:
            self.counts.extend(len(found.ids) for found in self._tokenizer.encode_batch_fast(self._waiting))
            self._waiting = []


class Facts:
    """Columns of numbers, one entry per usable row."""

    def __init__(self, tokenizer: Path | None = None) -> None:
        """`tokenizer`: path of a tokenizer.json, or None to leave tokens uncounted."""
        self.numbers, self.labels = array("q"), array("i")
        self.exact, self.folded = array("q"), array("q")
        self.characters, self.words = array("i"), array("i")
        self.splits = array("b")
        self.label_names: list[str] = []
        self._label_index: dict[str, int] = {}
        self._signer = Signer()
        self._tokens = TokenCounter(tokenizer) if tokenizer else None
        self._groups: Groups | None = None

    def __len__(self) -> int:
        """Number of usable rows."""
        return len(self.numbers)

    def add(self, example: Example) -> None:
        """Remember one row."""
        text, folded = example.text.strip(), fold(example.text)
        self.numbers.append(example.number)
        self.labels.append(self._label(example.label))
        self.exact.append(key(text))
        self.folded.append(key(folded))
        self.characters.append(len(text))
        self.words.append(len(text.split()))
        self.splits.append(SPLITS.index(example.split) if example.split else -1)
        if len(self.numbers) <= NEAR_ROWS:
            self._signer.add(folded)
        if self._tokens:
            self._tokens.add(text)

    def _label(self, label: str) -> int:
        index = self._label_index.get(label)
        if index is None:
            index = self._label_index[label] = len(self.label_names)
            self.label_names.append(label)
        return index

    @property
    def tokens(self) -> npt.NDArray[np.int32] | None:
        """Token counts, or None without a tokenizer."""
        if self._tokens is None:
            return None
        self._tokens.flush()
        return np.array(self._tokens.counts, np.int32)

    def groups(self) -> Groups:
        """For each row, the index of the first row that says (almost) the same."""
        if self._groups is None:
            self._groups = group(np.array(self.folded, np.int64), self._signer.signatures())
        return self._groups

    def label_counts(self) -> Counter[str]:
        """Rows per label as uploaded."""
        tally = np.bincount(np.array(self.labels, np.int64), minlength=len(self.label_names))
        return Counter(dict(zip(self.label_names, tally.tolist(), strict=True)))


class TalkFacts:
    """The same for conversations and for prompts with completions."""

    def __init__(self) -> None:
        """Start empty."""
        self.numbers = array("q")
        self.exact, self.asked = array("q"), array("q")
        self.characters, self.words, self.messages = array("i"), array("i"), array("i")
        self.splits = array("b")
        self._signer = Signer()
        self._near: Groups | None = None

    def __len__(self) -> int:
        """Number of usable rows."""
        return len(self.numbers)

    def add(self, talk: Talk) -> None:
        """Remember one row."""
        self.numbers.append(talk.number)
        self.exact.append(key(fold(talk.text)))
        self.asked.append(key(fold(talk.asked)))
        self.characters.append(len(talk.text))
        self.words.append(len(talk.text.split()))
        self.messages.append(len(talk.turns))
        self.splits.append(SPLITS.index(talk.split) if talk.split else -1)
        if len(self.numbers) <= NEAR_ROWS:
            self._signer.add(fold(talk.own))

    def groups(self) -> Groups:
        """For each row, the first row that asks the same or says almost the same: together on a side of the split."""
        return group_own_words(np.array(self.asked, np.int64), self._signer.signatures())

    def copies(self) -> npt.NDArray[np.bool_]:
        """Later rows that say the same as an earlier one."""
        later = np.ones(len(self), np.bool_)
        later[np.unique(np.array(self.exact, np.int64), return_index=True)[1]] = False
        return later

    def near(self) -> npt.NDArray[np.bool_]:
        """Later rows that say almost the same as an earlier one, copies left out."""
        if self._near is None:
            self._near = group_own_words(np.array(self.exact, np.int64), self._signer.signatures())
        return (self._near != np.arange(len(self))) & ~self.copies()
