"""The lines of a batch's file: read within bounds, each one checked. Knows no Django.

reader = Checker(endpoint="/v1/classify")
for number, raw in split(chunks):
    reader.take(number, raw)
reader.finish()
reader.problems, reader.total, reader.model
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kit import strict_json
from kit.errors import BadRequest

MAX_LINES = 50_000
LINE_BYTES = (8 << 20) + (64 << 10)
"""Of one line: a body as large as a call may have, and what stands around it."""
ID_CHARS = 256
TOKEN_BYTES = 4
"""A token of usual text has about so many bytes; only the limit on what may wait counts by it."""
MOST_PROBLEMS = 50_000
"""After so many no more lines are read."""
UNKNOWN_SHOWN = 5
"""Unknown fields of one line that are named."""
FIELDS = frozenset({"custom_id", "method", "url", "body"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, as `errors.data` has it. `line` counts from 1; None for the file as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def wire(self) -> dict[str, Any]:
        """The object of the wire."""
        return {"code": self.code, "line": self.line, "message": self.message, "param": self.param}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that can be asked."""

    number: int
    custom_id: str
    body: dict[str, Any]


def split(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """(number, bytes) of every line that is not blank; None in place of one over LINE_BYTES, of which no more is kept
    in memory than that."""
    number, held, too_long = 1, bytearray(), False
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if not too_long:
                held += memoryview(chunk)[start:end]
            yield from _line(number, held, too_long)
            number, start, too_long = number + 1, end + 1, False
            held.clear()
        if not too_long:
            held += memoryview(chunk)[start:]
        if len(held) > LINE_BYTES:
            too_long = True
            held.clear()
    yield from _line(number, held, too_long)


def _line(number: int, held: bytearray, too_long: bool) -> Iterator[tuple[int, bytes | None]]:
    if too_long or len(held) > LINE_BYTES:
        yield number, None
    elif raw := bytes(held).strip():
        yield number, raw


def parse(number: int, raw: bytes) -> Line:
    """A line that was checked before."""
    value = strict_json.loads(raw)
    return Line(number, value["custom_id"], value["body"])


@dataclass
class Checker:
    """Takes every line of a file and remembers what is wrong."""

    endpoint: str
    problems: list[Problem] = field(default_factory=list)
    total: int = 0
    model: str = ""
    tokens: int = 0
    """About how many tokens the lines hold."""
    full: bool = False
    """Whether there are too many lines: no more of them need be read."""
    _seen: dict[str, int] = field(default_factory=dict)
    _here: int = 0

    def take(self, number: int, raw: bytes | None) -> None:
        """Check one line."""
        if len(self.problems) >= MOST_PROBLEMS:
            self.full = True
            self.problems.append(Problem("too_many_problems", f"Lines from line {number:,} on were not read."))
            return
        if self.total == MAX_LINES:
            self.full = True
            self.problems.append(
                Problem(
                    "too_many_tasks", f"The file has more than {MAX_LINES:,} lines, the most of one batch. Split it."
                )
            )
            return
        self.total += 1
        self._here = number
        if raw is None:
            self._say("line_too_long", f"The line is longer than {LINE_BYTES >> 20} MiB, the most a call may have.")
            return
        self.tokens += len(raw) // TOKEN_BYTES
        try:
            value = strict_json.loads(raw)
        except BadRequest as error:
            self._say("invalid_json_line", error.message.replace("The body", "The line", 1), error.param)
            return
        if not isinstance(value, dict):
            self._say("invalid_json_line", "The line is no JSON object with custom_id, method, url and body.")
            return
        self._fields(value)

    def finish(self) -> None:
        """The file has ended."""
        if not self.total:
            self.problems.append(Problem("empty_file", "The file has no lines. Send at least one call."))

    def _say(self, code: str, message: str, param: str | None = None) -> None:
        self.problems.append(Problem(code, message, self._here, param))

    def _fields(self, value: dict[str, Any]) -> None:
        for name in ("custom_id", "method", "url", "body"):
            if name not in value:
                self._say("missing_required_parameter", f"The line has no '{name}'.", name)
        for name in sorted(set(value) - FIELDS)[:UNKNOWN_SHOWN]:
            self._say(
                "unknown_parameter", f"Unknown field '{name[:80]}'; a line has {', '.join(sorted(FIELDS))}.", name[:80]
            )
        if "custom_id" in value:
            self._custom_id(value["custom_id"])
        if value.get("method", "POST") != "POST":
            self._say("invalid_method", "'method' must be \"POST\".", "method")
        if value.get("url", self.endpoint) != self.endpoint:
            self._say("invalid_url", f"'url' must be the batch's endpoint, {self.endpoint}.", "url")
        if "body" in value:
            self._body(value["body"])

    def _custom_id(self, value: Any) -> None:
        if not isinstance(value, str) or not value.strip() or len(value) > ID_CHARS:
            self._say("invalid_custom_id", f"'custom_id' must be a text of 1 to {ID_CHARS} characters.", "custom_id")
        elif (first := self._seen.setdefault(value, self._here)) != self._here:
            self._say(
                "duplicate_custom_id", f"The custom_id '{value[:80]}' stands in line {first} already.", "custom_id"
            )

    def _body(self, body: Any) -> None:
        if not isinstance(body, dict):
            self._say("invalid_request", "'body' must be a JSON object: what the call would have sent.", "body")
            return
        if body.get("stream"):
            self._say(
                "unsupported_parameter", "The answers of a batch are not streamed; leave 'stream' out.", "body.stream"
            )
        model = body.get("model")
        if not isinstance(model, str) or not 1 <= len(model) <= 300:
            self._say("missing_required_parameter", "'body.model' must name a model.", "body.model")
        elif not self.model:
            self.model = model
        elif model != self.model:
            self._say(
                "mismatched_model",
                f"The line asks '{model[:80]}', lines before it '{self.model[:80]}'. One batch calls one model.",
                "body.model",
            )
