"""An engine that computes nothing: it answers every text with the same probabilities at once.

For `gateway_cost.py`, which asks what the gateway itself costs. Speaks the real wire; ENGINE_ADDRESS, ENGINE_TOKEN and
STUB_LABELS come from the environment.
"""

import array
import asyncio
import os

from inference import wire
from inference.address import Address

LABELS = [f"label {i}" for i in range(int(os.environ["STUB_LABELS"]))]
ROW = array.array("f", [1 / len(LABELS)] * len(LABELS)).tobytes()


def answer(message: wire.Request) -> wire.Message:
    """The answer a perfect engine would give in no time."""
    match message:
        case wire.Hello():
            return wire.Welcome(wire.PROTOCOL, "stub")
        case wire.Classify(id=number, texts=texts):
            return wire.Classified(number, len(LABELS), ROW * len(texts), [33] * len(texts), 256, 1)
        case wire.Load(id=number, model=model):
            return wire.Described(number, model, "all-MiniLM-L6-v2", "head", LABELS, 256, 0)
        case wire.Parity(id=number):
            return wire.ParityReport(number, True, 1, 0.0, 0.0, 0, 0.1)
    return wire.Failed(getattr(message, "id", 0), "bad_request", "A stub knows no such message.")


class Stub(asyncio.Protocol):
    def connection_made(self, transport) -> None:
        self.transport, self.frames = transport, wire.Frames()

    def data_received(self, data: bytes) -> None:
        answers = [wire.pack(answer(wire.read_request(body))) for body in self.frames.feed(data)]
        self.transport.write(b"".join(answers))


async def main() -> None:
    path = Address.parse(os.environ["ENGINE_ADDRESS"]).path
    server = await asyncio.get_running_loop().create_unix_server(Stub, path)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
