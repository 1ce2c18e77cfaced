"""What a trainer may say: the lab's events, each field of its type and within bounds. No Django.

Its data is hostile and may have turned it: what it says is written to the database and shown to people. An event that
breaks the contract is none: it becomes REFUSED, of which a job's log tells once, and nothing else of it is believed. If
it was the word of a result, there is no result, and the run ends as one of ours that crashed.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

REFUSED = "refused"
"""In place of an event that was none; `job` says whose, where several share a process."""
MAX_LINE = 1 << 16
"""Bytes; a longer line is several that are none."""
LONGEST_MESSAGE = 2_000
LONGEST_PATH = 4_000
MOST_STEPS = 10**9
MOST_TOKENS = 10**13
_CODE = re.compile(r"[a-z0-9_]{1,40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def parse(raw: bytes) -> dict[str, Any] | None:
    """One line as an event; None where it is no event at all, REFUSED where it is one that may not be."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("event"), str):
        return None
    kind = said["event"]
    if kind not in KINDS:  # the lab may say more than this version reads
        return None
    whose = {"job": said["job"]} if _whole(MOST_STEPS)(said.get("job")) else {}
    fields = {name: said.get(name) for name in KINDS[kind]}
    if not all(sound(fields[name]) for name, sound in KINDS[kind].items()):
        return {"event": REFUSED, **whose}
    if "message" in fields:
        fields["message"] = _plain(fields["message"] or "")
    return {"event": kind, **whose, **fields}


def _plain(text: str) -> str:
    """Without control characters, halves of characters, and what is too long."""
    whole = text[: 2 * LONGEST_MESSAGE].encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if unicodedata.category(one) == "Cc" else one for one in whole)[:LONGEST_MESSAGE]


def _whole(most: int, least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _perhaps(sound: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or sound(value)


def _figure(value: Any) -> bool:
    """A number that is one: what is not finite is sent as null."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and abs(value) <= 1e300 and math.isfinite(value))


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _path(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_PATH and value.isprintable()


def _code(value: Any) -> bool:
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def _digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


_STEP, _TOKENS = _whole(MOST_STEPS), _whole(MOST_TOKENS)
KINDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "phase": {"phase": _code, "step": _perhaps(_STEP), "total_steps": _perhaps(_STEP)},
    "step": {
        "step": _STEP,
        "total_steps": _STEP,
        "epoch": _figure,
        "loss": _figure,
        "learning_rate": _figure,
        "grad_norm": _figure,
        "tokens": _TOKENS,
        "samples_per_second": _figure,
    },
    "evaluation": {
        "step": _perhaps(_STEP),
        "epoch": _figure,
        "loss": _figure,
        "accuracy": _figure,
        "macro_f1": _figure,
        "token_accuracy": _figure,
    },
    "checkpoint": {"step": _STEP, "path": _path, "manifest_sha256": _digest},
    "warning": {"code": _code, "message": _text},
    "done": {"artefact": _path, "trained_tokens": _TOKENS, "steps": _STEP},
    "error": {"code": _code, "message": _text},
    "end": {"status": _whole(255, -255)},
}
"""What is read of each kind of event."""
