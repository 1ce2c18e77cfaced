"""Heavy libraries for a few tests: loaded when the first of them runs, not when the whole suite is collected.

Every worker of a parallel run imports every test module, also those whose tests another worker runs.
"""

import importlib
from typing import Any


class late:
    """A module by its name; the first look inside imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """What the module calls `attribute`. None that begins with _: pytest asks everything for some."""
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
