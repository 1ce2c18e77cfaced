"""Which paths a batch may call. The gateway offers its hot paths when it is set up, so that there is one list of them:
a route that is added there can be called in batches from then on.
"""

from collections.abc import Iterable

_offered: list[str] = []


def offer(paths: Iterable[str]) -> None:
    """Let batches call these paths."""
    _offered.extend(path for path in paths if path not in _offered)


def endpoints() -> tuple[str, ...]:
    """What a batch may call, in the order it was offered."""
    return tuple(_offered)
