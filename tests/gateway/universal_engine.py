"""The writing engine of these tests, which reads as well: each text is of the first of three labels, and like every
other, answers any query, names nothing and holds no answer; a token is a byte."""

import asyncio
import struct
from typing import Any

from inference import wire
from tests.gateway.writing_engine import WritingEngine

ROW = struct.pack("<3f", 0.7, 0.2, 0.1)
SCORE = struct.pack("<f", 0.5)
VECTOR = struct.pack("<4f", 0.5, 0.5, 0.5, 0.5)
LIMIT = 128


class UniversalEngine(WritingEngine):
    """Answers at once; `worked` remembers what it was asked to compute: what names the caller's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.worked: list[Any] = []

    def _take(self, message: Any, writer: asyncio.StreamWriter, running: dict[int, Any]) -> None:
        if hasattr(message, "weight"):
            self.worked.append(message)
        match message:
            case wire.Classify(id=number, texts=texts):
                lengths = [len(text.encode()) for text in texts]
                writer.write(wire.pack(wire.Classified(number, 3, ROW * len(texts), lengths, LIMIT, 500)))
            case wire.Embed(id=number, texts=texts):
                lengths = [len(text.encode()) for text in texts]
                writer.write(wire.pack(wire.Embedded(number, 4, VECTOR * len(texts), lengths, LIMIT, 500)))
            case wire.Rank(id=number, query=query, texts=texts):
                lengths = [len(query.encode()) + len(text.encode()) for text in texts]
                writer.write(wire.pack(wire.Classified(number, 1, SCORE * len(texts), lengths, LIMIT, 500)))
            case wire.Tag(id=number, texts=texts):
                lengths = [len(text.encode()) for text in texts]
                writer.write(wire.pack(wire.Tagged(number, [[] for _ in texts], lengths, 500)))
            case wire.Ask(id=number, pairs=pairs):
                lengths = [len(question.encode()) + len(context.encode()) for question, context in pairs]
                nothing = [1.0] * len(pairs)
                writer.write(wire.pack(wire.Asked(number, [[] for _ in pairs], nothing, lengths, 500)))
            case _:
                super()._take(message, writer, running)
