"""The engine of these tests as a process: it reads at once, and writes words until it is told to stop.

python -m tests.chaos.writer SOCKET [SECONDS A TOKEN]
"""

import asyncio
import sys

import django

django.setup()

from tests.gateway.universal_engine import UniversalEngine  # noqa: E402 - after the set-up
from tests.gateway.writing_engine import Plan  # noqa: E402


async def main() -> None:
    """Serve until killed."""
    engine = UniversalEngine()
    engine.plans[""] = Plan(each_s=float(sys.argv[2]) if len(sys.argv) > 2 else 0.002)
    server = await asyncio.start_unix_server(engine.serve, sys.argv[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
