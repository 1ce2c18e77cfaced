"""Logs: one line per event, JSON in production, with the request id and never a secret."""

import json
import logging
import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""`req_…` of the request being served; shown to the user, printed on each log line."""

_SECRET = re.compile(
    r"(ts_live_[0-9A-Za-z]{12})_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}|(sk_(?:test|live)_|whsec_)[0-9A-Za-z_]+"
)
_QUERY = re.compile(r"([?&][\w.-]*(?:token|signature|secret|credential)=)[^&\s\"'\\<>]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def mask(text: str) -> str:
    """The text without API keys and other secrets of known shape, and without control characters."""
    text = _SECRET.sub(lambda match: f"{match[1] or match[2]}…", text)
    text = _QUERY.sub(r"\1…", text)
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class _Masked(logging.Formatter):
    """Takes the secrets of links out of finished lines, wherever a path came from: a message, an object that was passed
    along, or a traceback."""

    def __init__(self, secret_after: Sequence[str] = ()) -> None:
        """`secret_after`: beginnings of paths, without slashes at their ends, whose next part is a secret."""
        super().__init__()
        places = "|".join(re.escape(place) for place in secret_after) or r"(?!)"
        self._links = re.compile(rf"((?<![\w.-])(?:{places})/)[^/\s?#\"'\\<>]+")

    def hide(self, line: str) -> str:
        """The line without what opens a link."""
        return self._links.sub(r"\1…", line)


class JsonFormatter(_Masked):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Standard fields, then whatever was passed as `extra`."""
        entry: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        if request := request_id.get():
            entry["request_id"] = request
        for key, value in vars(record).items():
            if key not in _STANDARD:
                entry[key] = mask(value) if isinstance(value, str) else value
        if record.exc_info:
            entry["exception"] = mask(self.formatException(record.exc_info))
        return self.hide(json.dumps(entry, default=lambda value: mask(str(value)), ensure_ascii=False))


class TextFormatter(_Masked):
    """For people: level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """`WARNING training.supervise: …` with the traceback below."""
        line = f"{record.levelname.lower():7} {record.name}: {mask(record.getMessage())}"
        if record.exc_info:
            line += "\n" + mask(self.formatException(record.exc_info))
        return self.hide(line)
