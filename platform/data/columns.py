"""Which column is what: roles guessed from names and values, each with a confidence and a reason a person can check.

A guess is only a proposal: the caller may pass a mapping of its own, which `resolve` checks against the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from data.formats.base import Row
from data.formats.header import normal

TEXT, LABEL, ID, SPLIT, IGNORE = "text", "label", "id", "split", "ignore"
MESSAGES, TOOLS, PROMPT, COMPLETION = "messages", "tools", "prompt", "completion"
ROLES = (TEXT, LABEL, ID, SPLIT, MESSAGES, TOOLS, PROMPT, COMPLETION, IGNORE)

CLASSIFICATION, CHAT, PAIRS = "text-classification", "chat", "prompt-completion"
TASKS = (CLASSIFICATION, CHAT, PAIRS)
NEEDED: dict[str, tuple[str, ...]] = {
    CLASSIFICATION: (TEXT, LABEL), CHAT: (MESSAGES,), PAIRS: (PROMPT, COMPLETION),
}  # fmt: skip
"""The roles without which a row of a task says nothing."""
ALLOWED = {CLASSIFICATION: (TEXT, LABEL, SPLIT), CHAT: (MESSAGES, TOOLS, SPLIT), PAIRS: (PROMPT, COMPLETION, SPLIT)}
"""All roles that a version of a task keeps, in order."""

TEXT_NAMES = (
    "text", "sentence", "utterance", "message", "query", "content", "body", "input", "comment", "review", "question",
    "description", "document", "complaint", "title", "subject", "feedback", "note", "notes",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "intent", "category", "class", "target", "topic", "tag", "sentiment", "y", "label_text",
    "output", "department", "type",
)  # fmt: skip
ID_NAMES = ("id", "row_id", "uuid", "index", "idx", "key", "ticket_id", "message_id")
SPLIT_NAMES = ("split", "partition", "subset", "fold")
SPLIT_VALUES = {
    "train": "train", "training": "train", "valid": "validation", "validation": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
PROMPT_NAMES = ("prompt", "instruction")
COMPLETION_NAMES = ("completion", "response")


Chosen = dict[str, tuple[str, float, str]]


@dataclass(frozen=True, slots=True)
class Guess:
    """One column: its role, confidence from 0 to 1, and why."""

    column: str
    role: str
    confidence: float
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Roles:
    """The chosen columns by role."""

    columns: Mapping[str, str]

    def get(self, role: str) -> str | None:
        """Return the column that has `role`, or None."""
        return self.columns.get(role)

    @property
    def task(self) -> str:
        """The shape the roles describe."""
        if MESSAGES in self.columns:
            return CHAT
        if PROMPT in self.columns or COMPLETION in self.columns:
            return PAIRS
        return CLASSIFICATION


class MappingError(ValueError):
    """A mapping names a column that is not there, an unknown role, or one column twice."""

    def __init__(self, message: str, param: str) -> None:
        """`param` is the part of the mapping at fault."""
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class _Stats:
    """What the sample says about one column."""

    filled: int
    distinct: int
    chars: float
    words: float
    numeric: float
    nested: bool
    listed: bool
    splits: bool


def _stats(values: Sequence[Any]) -> _Stats:
    strings = [str(value).strip() for value in values if value is not None and str(value).strip()]
    filled = len(strings)
    return _Stats(
        filled=filled,
        distinct=len(set(strings)),
        chars=median(map(len, strings)) if strings else 0,
        words=median(len(value.split()) for value in strings) if strings else 0,
        numeric=sum(value.replace(".", "", 1).lstrip("+-").isdigit() for value in strings) / filled if filled else 0,
        nested=any(isinstance(value, list | dict) for value in values),
        listed=bool(strings) and all(value.startswith("[") and value.endswith("]") for value in strings),
        splits=bool(strings) and all(value.casefold() in SPLIT_VALUES for value in set(strings)),
    )


def detect(columns: Sequence[str], sample: Iterable[Row]) -> list[Guess]:
    """Guess a role for every column from its name and the sample's values."""
    rows = list(sample)
    stats = {name: _stats([row.values.get(name) for row in rows]) for name in columns}
    names = {name: normal(name) for name in columns}
    chosen: Chosen = {}
    _claim_nested(columns, names, stats, chosen)
    spoken = bool(chosen)
    _claim_helpers(columns, names, stats, chosen)
    if not spoken:
        _claim_label(columns, names, stats, chosen)
        _claim_text(columns, names, stats, chosen)
    return [Guess(name, *chosen.get(name, (IGNORE, 0.5, "Not needed"))) for name in columns]


def _claim_nested(
    columns: Sequence[str], names: Mapping[str, str], stats: Mapping[str, _Stats], chosen: Chosen
) -> None:
    """Conversations and prompt/completion pairs are told by their keys."""
    for name in columns:
        if names[name] == "messages" and (stats[name].nested or stats[name].listed):
            chosen[name] = (MESSAGES, 1.0, "Named messages and holds lists")
            for other in columns:
                if names[other] == "tools" and (stats[other].nested or stats[other].listed):
                    chosen[other] = (TOOLS, 1.0, "Named tools, beside messages")
                    break
            return
    prompt = next((name for wanted in PROMPT_NAMES for name in columns if names[name] == wanted), None)
    completion = next((name for wanted in COMPLETION_NAMES for name in columns if names[name] == wanted), None)
    if prompt and completion:
        chosen[prompt] = (PROMPT, 0.95, f"Named {prompt}, beside {completion}")
        chosen[completion] = (COMPLETION, 0.95, f"Named {completion}, beside {prompt}")


def _claim_helpers(
    columns: Sequence[str], names: Mapping[str, str], stats: Mapping[str, _Stats], chosen: Chosen
) -> None:
    for name in columns:
        found = stats[name]
        if name in chosen:
            continue
        if names[name] in SPLIT_NAMES and found.splits:
            chosen[name] = (SPLIT, 0.95, "Named like a split and holds train, validation or test")
        elif names[name] in ID_NAMES or names[name].endswith("_id"):
            chosen[name] = (ID, 0.9, "Named like an identifier")


def _claim_label(columns: Sequence[str], names: Mapping[str, str], stats: Mapping[str, _Stats], chosen: Chosen) -> None:
    free = [name for name in columns if name not in chosen and not stats[name].nested]
    for wanted in LABEL_NAMES:
        for name in free:
            if names[name] == wanted and stats[name].words <= 6:
                chosen[name] = (LABEL, 0.98 if wanted in LABEL_NAMES[:3] else 0.85, f"Named {name}")
                return
    candidates = [
        name for name in free
        if stats[name].filled and stats[name].distinct <= max(2, stats[name].filled * 0.5)
        and stats[name].words <= 4 and names[name] not in TEXT_NAMES
    ]  # fmt: skip
    if candidates:
        best = min(candidates, key=lambda name: (stats[name].numeric, stats[name].distinct))
        reason = f"Short values that repeat: {stats[best].distinct} different in {stats[best].filled} rows"
        chosen[best] = (LABEL, 0.6, reason)


def _claim_text(columns: Sequence[str], names: Mapping[str, str], stats: Mapping[str, _Stats], chosen: Chosen) -> None:
    free = [name for name in columns if name not in chosen and not stats[name].nested]
    for wanted in TEXT_NAMES:
        for name in free:
            if names[name] == wanted:
                chosen[name] = (TEXT, 0.98 if wanted == TEXT else 0.85, f"Named {name}")
                return
    written = [name for name in free if stats[name].filled and stats[name].words >= 2 and stats[name].numeric < 0.5]
    if written:
        best = max(written, key=lambda name: stats[name].chars)
        chosen[best] = (TEXT, 0.6, f"Longest values: about {stats[best].chars:.0f} characters")


def task_of(mapping: Mapping[str, str]) -> str | None:
    """The task whose roles a mapping names, or None where it names none of them."""
    return next((task for task in (CHAT, PAIRS, CLASSIFICATION) if set(NEEDED[task]) & set(mapping)), None)


def resolve(guesses: Sequence[Guess], mapping: Mapping[str, str] | None) -> Roles:
    """Return the roles to use: the guesses, with `mapping` (role → column) laid over them.

    Raises MappingError when the mapping does not fit the file.
    """
    found = {guess.role: guess.column for guess in guesses if guess.role != IGNORE}
    if not mapping:
        return Roles(found)
    known = [guess.column for guess in guesses]
    for role, column in mapping.items():
        if role not in ROLES:
            raise MappingError(f"“{role}” is not a column role. Use {', '.join(ROLES)}.", role)
        if column not in known:
            raise MappingError(f"There is no column “{column}”. The file has: {', '.join(known[:20])}.", role)
    if len(set(mapping.values())) != len(mapping):
        raise MappingError("One column cannot have two roles.", "columns")
    taken = set(mapping.values())
    kept = {role: column for role, column in found.items() if column not in taken}
    task = task_of(mapping)
    if task is not None:
        kept = {role: column for role, column in kept.items() if role in (*ALLOWED[task], ID)}
    return Roles({**kept, **{role: column for role, column in mapping.items() if role != IGNORE}})
