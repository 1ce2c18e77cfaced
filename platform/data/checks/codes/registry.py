"""The registry of finding codes: level, words, expected shape, and the fix where one click is safe.

Words are plain strings with `%(name)s` places, so that pure code needs no Django; the console passes them through
gettext (they are listed for translators by `words()`). A code, once released, keeps its meaning.
"""

from __future__ import annotations

import re
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
    one: str = ""
    """The message when the count is one."""


CODES: dict[str, Code] = {}

TABLE_SHAPE = "A header line, then one row per example with the same number of columns: text,label"
JSONL_SHAPE = '{"text": "where is my card", "label": "card_arrival"}'
CHAT_SHAPE = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
PAIR_SHAPE = '{"prompt": "…", "completion": "…"}'


SUBJECT = re.compile(r"^%\(count\)s (?P<blank>blank )?(?P<noun>row|line|text|value|label)s (?P<rest>.*)$", re.DOTALL)
VERBS = (
    ("have ", "has "), ("hold ", "holds "), ("do not ", "does not "), ("repeat ", "repeats "), ("lack ", "lacks "),
    ("share their ", "shares its "), ("are ", "is "), ("end ", "ends "), ("give ", "gives "), ("were ", "was "),
    ("begin or end ", "begins or ends "), ("occur ", "occurs "),
)  # fmt: skip


def one_of(message: str) -> str:
    """Return a message that opens with a counted plural in its singular; others as they are."""
    found = SUBJECT.match(message)
    if found is None:
        return message
    share, rest = "", found["rest"]
    if rest.startswith("("):
        share, _, rest = rest.partition(") ")
        share += ") "
    for plural, singular in VERBS:
        if rest.startswith(plural):
            return f"%(count)s {found['blank'] or ''}{found['noun']} {share}{singular}{rest.removeprefix(plural)}"
    raise ValueError(f"no singular for: {message}")


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
    CODES[code] = Code(code, level, title, message, hint, expected, fix, fatal, one_of(message))


def words() -> Iterator[str]:
    """Yield every string that a person may read, for translators."""
    for code in CODES.values():
        yield from (code.title, code.message, code.one, code.hint)
