"""An engine that computes nothing: every text has the same probabilities, every prompt the same answer, at once.

For `gateway_cost.py` and `gateway.py`, which ask what the gateway itself costs. Speaks the real wire; ENGINE_ADDRESS,
ENGINE_TOKEN and STUB_LABELS come from the environment.
"""

import array
import asyncio
import os

from inference import wire
from inference.address import Address

LABELS = [f"label {i}" for i in range(int(os.environ["STUB_LABELS"]))]
PROMPT, WRITTEN = list(range(33)), 20
ROW = array.array("f", [1 / len(LABELS)] * len(LABELS)).tobytes()


def answers(message: wire.Request) -> list[wire.Message]:
    """What a perfect engine would answer in no time."""
    match message:
        case wire.Hello():
            return [wire.Welcome(wire.PROTOCOL, "stub")]
        case wire.Classify(id=number, texts=texts):
            return [wire.Classified(number, len(LABELS), ROW * len(texts), [33] * len(texts), 256, 1)]
        case wire.Render(id=number, prompts=prompts):
            return [wire.Rendered(number, [PROMPT] * max(len(prompts), 1), 4096)]
        case wire.Generate(id=number):
            piece = wire.Piece(number, 0, "word " * WRITTEN, WRITTEN, "stop")
            return [piece, wire.Generated(number, len(PROMPT), 0, WRITTEN, 1, 0)]
        case wire.Load(id=number, model=model):
            return [wire.Described(number, model, "all-MiniLM-L6-v2", "head", LABELS, 256, 0)]
        case wire.Parity(id=number):
            return [wire.ParityReport(number, True, 1, 0.0, 0.0, 0, 0.1)]
    return [wire.Failed(getattr(message, "id", 0), "bad_request", "A stub knows no such message.")]


class Stub(asyncio.Protocol):
    def connection_made(self, transport) -> None:
        self.transport, self.frames = transport, wire.Frames()

    def data_received(self, data: bytes) -> None:
        for body in self.frames.feed(data):
            self.transport.write(b"".join(map(wire.pack, answers(wire.read_request(body)))))


async def main() -> None:
    path = Address.parse(os.environ["ENGINE_ADDRESS"]).path
    server = await asyncio.get_running_loop().create_unix_server(Stub, path)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
