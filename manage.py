#!/usr/bin/env python
"""The command line of Tunesmith: `python manage.py help` lists every verb."""

import gc
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> None:
    """Put the two import roots on the path, then hand over to Django."""
    for root in (ROOT / "platform", ROOT):
        if str(root) not in sys.path:
            sys.path.insert(0, str(root))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["up"]:  # from here on: its imports and engines take longer than some people's patience
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
    gc.disable()  # until all is loaded (`config.apps`): there is nothing to collect, and it would read all of it often
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


def _leave(*_: object) -> None:
    """Asked to stop before everything is up: what was started is stopped on the way out, and that is no fault."""
    sys.exit(0)


if __name__ == "__main__":
    main()
