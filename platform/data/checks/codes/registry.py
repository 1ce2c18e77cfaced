"""The registry of finding codes: level, words, expected shape, and the fix where one click is safe.

Words are plain strings with `%(name)s` places, so that pure code needs no Django; the console passes them through
gettext (they are listed for translators by `words()`). A code, once released, keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BLOCKING, WARNING, NOTE = "blocking", "warning", "note"
LEVELS = (BLOCKING, WARNING, NOTE)


@dataclass(frozen=True, slots=True)
class Code:
    """What one code means. `fatal` codes make a file unreadable; `fix` names a step of `data.fixes`."""

    code: str
    level: str
    title: str
    message: str
    hint: str
    expected: str = ""
    fix: str | None = None
    fatal: bool = False


CODES: dict[str, Code] = {}

TABLE_SHAPE = "A header line, then one row per example with the same number of columns: text,label"
JSONL_SHAPE = '{"text": "where is my card", "label": "card_arrival"}'
CHAT_SHAPE = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
PAIR_SHAPE = '{"prompt": "…", "completion": "…"}'


def entry(
    code: str,
    level: str,
    title: str,
    message: str,
    hint: str,
    *,
    expected: str = "",
    fix: str | None = None,
    fatal: bool = False,
) -> None:
    """Register one code with its words."""
    CODES[code] = Code(code, level, title, message, hint, expected, fix, fatal)


def words() -> Iterator[str]:
    """Yield every string that a person may read, for translators."""
    for code in CODES.values():
        yield from (code.title, code.message, code.hint)
