"""The writing engine of these tests, which reads as well: each text is of the first of three labels, and like every
other; a token is a byte."""

import asyncio
import struct
from typing import Any

from inference import wire
from tests.gateway.writing_engine import WritingEngine

ROW = struct.pack("<3f", 0.7, 0.2, 0.1)
VECTOR = struct.pack("<4f", 0.5, 0.5, 0.5, 0.5)
LIMIT = 128


class UniversalEngine(WritingEngine):
    """Answers at once."""

    def _take(self, message: Any, writer: asyncio.StreamWriter, running: dict[int, Any]) -> None:
        match message:
            case wire.Classify(id=number, texts=texts):
                lengths = [len(text.encode()) for text in texts]
                writer.write(wire.pack(wire.Classified(number, 3, ROW * len(texts), lengths, LIMIT, 500)))
            case wire.Embed(id=number, texts=texts):
                lengths = [len(text.encode()) for text in texts]
                writer.write(wire.pack(wire.Embedded(number, 4, VECTOR * len(texts), lengths, LIMIT, 500)))
            case _:
                super()._take(message, writer, running)
