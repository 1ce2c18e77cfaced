"""How workers and beat start: `python -m config.background worker --queues train …`, as Celery's own command line.

Celery takes SIGTERM in hand only when it has imported everything and made its worker. Until then nothing was taken from
a queue and nothing claimed, so whoever is asked to leave leaves at once, with status 0: nobody who stops a process that
is still starting should have to take it for a crash.

Whoever starts this may hold SIGTERM back (`config.runner`): then not even the interpreter's own start is a gap.
"""

import gc
import os
import signal
import sys


def main() -> None:
    """Be ready to leave, then hand over to Celery."""
    signal.signal(signal.SIGTERM, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    gc.disable()  # until all is loaded (`config.apps`): there is nothing to collect, and it would read all of it often
    from celery.__main__ import main as celery  # not before: this import is most of the start

    # Celery starts a worker again on SIGHUP, with these words: they must lead here, and not to a file of this name.
    sys.argv[0] = "-mconfig.background"
    if sys.argv[1:2] != ["--app"]:
        sys.argv[1:1] = ["--app", "config.celery"]
    celery()


def _leave(*_: object) -> None:
    """Without a way through whatever is half imported, where somebody may catch it."""
    os._exit(0)


if __name__ == "__main__":
    main()
