"""Tokens to text: only whole characters leave, and nothing that may turn out to be the beginning of a stop."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """The text of one choice as it is written. `stopped` is set once a stop has been met."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops = [stop for stop in stops if stop]
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = ""

    def add(self, raw: bytes) -> str:
        """The bytes of one more token; returns what may be shown now."""
        self._held += self._decode(raw)
        met = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if met:
            self.stopped = True
            shown, self._held = self._held[: min(met)], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(shown) :]
        return shown

    def end(self) -> str:
        """What was held back, now that no more comes."""
        shown, self._held = self._held + self._decode(b"", True), ""
        return "" if self.stopped else shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
