"""The messages between the engine and its callers, and how they are framed.

A frame is four bytes of length (big endian) and one msgpack map; the map's `type` names the message. Any number of
requests may be in flight on a connection; an answer carries the `id` of its request. The first frame of a connection
is `Hello`, answered by `Welcome` or by `Failed` and a closed connection.

`base` holds what all share, the other modules the messages by what they are about.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from inference.errors import TooLarge
from inference.wire.base import Cancel, Failed, Hello, Join, Leave, Leaving, Message, Welcome
from inference.wire.health import Health, HealthReport, ResidentReport, TrialReport, WriterReport
from inference.wire.models import Describe, Described, Done, Load, Parity, ParityReport, Unload
from inference.wire.reading import (
    UNCUT,
    Ask,
    Asked,
    Classified,
    Classify,
    Computed,
    Count,
    Counted,
    Embed,
    Embedded,
    Entity,
    Nearest,
    Neighbours,
    Rank,
    Span,
    Tag,
    Tagged,
)  # fmt: skip
from inference.wire.writing import (
    Allow,
    Generate,
    Generated,
    Grammar,
    Piece,
    Render,
    Rendered,
    Sampling,
    TokenChance,
    TokenReport,
)

PROTOCOL = 2
OLDEST = 1
"""What callers of this version and later send is still understood: engines are replaced before their callers."""
MAX_FRAME = 32 * 1024 * 1024
MAX_TEXTS = 2048
MERGED = "+merged"
"""What a report adds to the name of a model for its copy with the adapter merged (`inference.hot`)."""
_LENGTH = struct.Struct(">I")

Request = (
    Hello | Classify | Embed | Rank | Tag | Ask | Nearest | Count | Render | Generate | Allow | Load | Unload | Describe
    | Parity | Health | Leave | Join | Cancel
)  # fmt: skip
Answer = (
    Welcome | Leaving | Classified | Embedded | Tagged | Asked | Neighbours | Counted | Rendered | Piece | Generated
    | Described | Done | ParityReport | HealthReport | Failed
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def pack(message: Message) -> bytes:
    """One frame, ready to be written. Raises `TooLarge` over `MAX_FRAME`."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise TooLarge(f"A message of {len(body)} bytes is over the limit of {MAX_FRAME} bytes; send fewer texts.")
    return _LENGTH.pack(len(body)) + body


def read_request(body: bytes) -> Request:
    """Decode a frame's body on the engine's side. Raises `msgspec.MsgspecError` on anything unknown."""
    return _requests.decode(body)


def read_answer(body: bytes) -> Answer:
    """Decode a frame's body on the caller's side. Raises `msgspec.MsgspecError` on anything unknown."""
    return _answers.decode(body)


class Frames:
    """Cuts a stream of bytes into frame bodies."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every complete body. Raises `TooLarge` as soon as a length over the limit is announced."""
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        try:
            while end - start >= 4:
                (length,) = _LENGTH.unpack_from(buffer, start)
                if length > self.limit:
                    raise TooLarge(f"A frame of {length} bytes was announced; the limit is {self.limit} bytes.")
                if end - start - 4 < length:
                    return
                body = bytes(memoryview(buffer)[start + 4 : start + 4 + length])
                start += 4 + length
                yield body
        finally:
            del buffer[:start]


__all__ = [
    "MAX_FRAME",
    "MAX_TEXTS",
    "MERGED",
    "OLDEST",
    "PROTOCOL",
    "UNCUT",
    "Allow",
    "Answer",
    "Ask",
    "Asked",
    "Cancel",
    "Classified",
    "Classify",
    "Computed",
    "Count",
    "Counted",
    "Describe",
    "Described",
    "Done",
    "Embed",
    "Embedded",
    "Entity",
    "Failed",
    "Frames",
    "Generate",
    "Generated",
    "Grammar",
    "Health",
    "HealthReport",
    "Hello",
    "Join",
    "Leave",
    "Leaving",
    "Load",
    "Message",
    "Nearest",
    "Neighbours",
    "Parity",
    "ParityReport",
    "Piece",
    "Rank",
    "Render",
    "Rendered",
    "Request",
    "ResidentReport",
    "Sampling",
    "Span",
    "Tag",
    "Tagged",
    "TokenChance",
    "TokenReport",
    "TrialReport",
    "Unload",
    "Welcome",
    "WriterReport",
    "pack",
    "read_answer",
    "read_request",
]
