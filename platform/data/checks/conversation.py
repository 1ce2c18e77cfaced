"""Checks on conversations and on prompt and completion pairs: shape, roles, tool calls, something to learn from."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from data.checks.classification import MIN_ROWS
from data.checks.leaks import split_leaks
from data.columns import Roles
from data.example import Reject
from data.facts import TalkFacts
from data.findings import Collector
from data.formats.base import Row
from data.talk import Talk, talk_of


class ConversationCheck:
    """Feed rows with `take`, then call `finish` once."""

    def __init__(self, roles: Roles, collector: Collector, min_rows: int = MIN_ROWS) -> None:
        """`roles` must hold messages, or prompt and completion."""
        self.roles, self.collector, self.min_rows = roles, collector, min_rows
        self.facts = TalkFacts()
        self.role_counts: Counter[str] = Counter()

    def take(self, row: Row) -> Talk | None:
        """Check one row and remember it; return what it says if it is usable."""
        talk = self.look(row)
        if talk is not None:
            self.facts.add(talk)
            self.role_counts.update(talk.turns)
        return talk

    def look(self, row: Row) -> Talk | None:
        """Report what one row shows by itself; return what it says if it is usable."""
        talk = talk_of(row, self.roles)
        if isinstance(talk, Reject):
            # The first reason stays in the words; later rows only add to the count.
            params = None if self.collector.get(talk.code) else talk.params
            self.collector.add(talk.code, row=row.number, line=row.line, snippet=talk.snippet, params=params)
            return None
        for note in talk.notes:
            self.collector.add(note.code, row=row.number, line=row.line, snippet=note.snippet, params=note.params)
        return talk

    def finish(self) -> None:
        """Report what only the whole set shows."""
        facts = self.facts
        if len(facts) < self.min_rows:
            self.collector.add("too_few_rows", params={"found": f"{len(facts):,}", "limit": self.min_rows})
        if not len(facts):
            return
        self._report("duplicate_examples", facts.copies())
        self._report("near_duplicates", facts.near())
        splits = np.array(facts.splits, np.int64)
        if (splits >= 0).any():
            self._report("split_leakage", split_leaks(splits, facts.groups()))

    def _report(self, code: str, mask: npt.NDArray[np.bool_]) -> None:
        numbers = self.facts.numbers
        self.collector.add_rows(code, ((numbers[index], "") for index in np.flatnonzero(mask).tolist()))
