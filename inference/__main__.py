"""`python -m inference --listen 127.0.0.1:7070`: run one engine process until it is told to stop."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import sys

from inference import tracing
from inference.service import serve
from inference.settings import Settings
from inference.watching import start_logging


def main() -> int:
    """Start the engine; 1 if the address is taken, 0 after a clean stop."""
    settings = Settings.from_command_line()
    start_logging()
    tracing.start("tunesmith-engine")
    loop_factory = None
    if importlib.util.find_spec("uvloop"):
        loop_factory = importlib.import_module("uvloop").new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve(settings))
    except OSError as error:
        logging.getLogger("inference").error("cannot listen on %s: %s", settings.listen, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
