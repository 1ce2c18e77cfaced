"""Keeping results as they come: an object with the lines, then a row that names it, in one fenced transaction with the
counts. A line counts as done when its segment's row is committed, and never before; what a killed worker had stored
without a row is nobody's, and its lines are asked again under the same request ids, so that they are not charged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db.models import F

from batches.credential import line_id, request_id_of
from batches.lines import Line
from batches.models import OPEN, Batch, Segment
from batches.services.turns import Turn, fenced_update
from kit import money, storage
from kit.ids import new_id
from kit.money import NANO
from tenants.scope import tenant_scope

_encode = msgspec.json.Encoder().encode
UNASKED = {
    "batch_expired": "This call was not made: the batch's completion window ended before its turn came.",
    "batch_cancelled": "This call was not made: the batch was cancelled before its turn came.",
}


class _Cached(msgspec.Struct):
    """Of the tokens read, those that the engine had computed before; only models that write have any."""

    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    """Tokens, as each kind of call names them."""

    input_tokens: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    type: str | None = None


class _Body(msgspec.Struct):
    """What is read of an answer; the rest goes to the file as it came."""

    usage: _Usage = msgspec.field(default_factory=_Usage)
    error: _Error | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one line: the text of its result and what it adds to the sums."""

    number: int
    text: bytes
    code: str = ""
    """Why it failed; empty for an answer."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0


def answered(turn: Turn, line: Line, status: int, body: bytes, cost: str) -> Outcome:
    """The outcome of a call; ValueError for a body that is no JSON object. `cost` is what the answer's header said."""
    nano = nano_of(cost)
    read = msgspec.json.decode(body, type=_Body)  # a msgspec.DecodeError is a ValueError
    response = {
        "status_code": status,
        "request_id": request_id_of(turn.batch_id, line.number),
        "body": msgspec.Raw(body),
        money.in_name("x_cost_usd", turn.currency): money.number(nano),
    }
    failed = status != 200
    code = (read.error and (read.error.code or read.error.type)) or f"status_{status}"
    return Outcome(
        line.number,
        _text(turn, line, response, None),
        code if failed else "",
        read.usage.input_tokens or read.usage.prompt_tokens,
        details.cached_tokens if (details := read.usage.prompt_tokens_details) is not None else 0,
        read.usage.output_tokens or read.usage.completion_tokens,
        nano,
    )


def unasked(turn: Turn, line: Line, code: str) -> Outcome:
    """The outcome of a line whose turn never came."""
    return Outcome(line.number, _text(turn, line, None, {"code": code, "message": UNASKED[code]}), code)


def _text(turn: Turn, line: Line, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    result = {
        "id": line_id(turn.batch_id, line.number),
        "custom_id": line.custom_id,
        "response": response,
        "error": error,
    }
    return _encode(result) + b"\n"


def nano_of(amount: str) -> int:
    """Nano of a header such as `0.000000123`; 0 where there is none."""
    whole, _, fraction = amount.partition(".")
    return int(whole or 0) * NANO + int((fraction + "0" * 9)[:9])


def folder_of(turn: Turn) -> str:
    """Where the segments of a batch lie."""
    return storage.tenant_key(turn.tenant_id, "batches", turn.batch_id)


def results_keep(turn: Turn, outcomes: Sequence[Outcome]) -> None:
    """Store these results and count them, all or none. Fenced where the turn is over."""
    parts = {
        Segment.Kind.OUTPUT: [one for one in outcomes if not one.code],
        Segment.Kind.ERROR: [one for one in outcomes if one.code],
    }
    segments = [_stored(turn, kind, some) for kind, some in parts.items() if some]
    with tenant_scope(turn.tenant_id):
        batch = Batch.objects.select_for_update().get(pk=turn.batch_id)
        codes = Counter(batch.codes) + Counter(one.code for one in outcomes if one.code)
        fenced_update(
            turn,
            within=OPEN,
            completed=F("completed") + len(parts[Segment.Kind.OUTPUT]),
            failed=F("failed") + len(parts[Segment.Kind.ERROR]),
            input_tokens=F("input_tokens") + sum(one.input_tokens for one in outcomes),
            cached_tokens=F("cached_tokens") + sum(one.cached_tokens for one in outcomes),
            output_tokens=F("output_tokens") + sum(one.output_tokens for one in outcomes),
            cost_nano=F("cost_nano") + sum(one.cost_nano for one in outcomes),
            codes=dict(codes),
            waits_for="",
        )
        Segment.objects.bulk_create(segments)


def _stored(turn: Turn, kind: str, outcomes: Sequence[Outcome]) -> Segment:
    key = f"{folder_of(turn)}/{new_id()}"
    size, sha256 = storage.write_stream(key, (one.text for one in outcomes))
    return Segment(
        tenant_id=turn.tenant_id,
        batch_id=turn.batch_id,
        turn=turn.number,
        kind=kind,
        storage_key=key,
        bytes=size,
        sha256=sha256,
        lines=ranges_of(one.number for one in outcomes),
    )


def ranges_of(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as ranges, both ends included."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
