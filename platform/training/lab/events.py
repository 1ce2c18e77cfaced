"""What a run says on stdout: one JSON object per line, and nothing else.

    {"event":"phase","phase":"loading|tokenising|baseline|training|evaluating|saving", …}
    {"event":"step","step","total_steps","epoch","loss","learning_rate","grad_norm","tokens","samples_per_second"}
    {"event":"evaluation","step","epoch","loss","accuracy","macro_f1"}     of a classifier
    {"event":"evaluation","step","epoch","loss","token_accuracy"}          of a model that writes
    {"event":"checkpoint","step","path","manifest_sha256"}
    {"event":"warning","code","message"}             the run goes on; for the log
    {"event":"done","artefact","report","trained_tokens","steps"}
    {"event":"error","code":"bad_data|out_of_memory|diverged|internal","message"}

Several runs in one process (`group.py`) add `job` to every line, and tell each run's end:

    {"event":"end","job","status"}                   the exit status that the run would have had alone

A reader ignores kinds and keys it does not know. Numbers that are not finite are written as null.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from training.lab.errors import Stopped, translated

PHASES = ("loading", "tokenising", "baseline", "training", "evaluating", "saving")
_ADVICE = "Lower the batch size or 'token_budget', shorten 'max_length', or choose the method 'lora' or 'head'."


class Emitter:
    """Writes events to a stream. A closed pipe means that the supervisor is gone: `broken` asks for a stop."""

    def __init__(self, stream: TextIO, job: int | None = None) -> None:
        self._stream = stream
        self._whose = {} if job is None else {"job": job}
        self.broken = False

    def of(self, job: int) -> Emitter:
        """One for a run of several: its lines say whose they are."""
        return Emitter(self._stream, job)

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one line and flush it."""
        if self.broken:
            return
        line = json.dumps({"event": event, **self._whose, **finite(fields)}, ensure_ascii=False, separators=(",", ":"))
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self.broken = True

    def phase(self, phase: str, **fields: Any) -> None:
        """Announce a phase; the names are the contract's, so a wrong one is a fault of ours."""
        if phase not in PHASES:
            raise ValueError(f"unknown phase {phase!r}")
        self("phase", phase=phase, **fields)


def tell_end(error: Exception, emit: Emitter) -> int:
    """How a run ended badly: an event, its trace on stderr, and the exit status returned. A stop is no fault."""
    if isinstance(error, Stopped):
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    traceback.print_exception(error)
    known = translated(error, advice=_ADVICE)
    message = str(known) if known else f"The training failed inside: {type(error).__name__}."
    emit("error", code=known.code if known else "internal", message=message)
    return known.exit_code if known else 1


def claim_stdout() -> TextIO:
    """A stream on the real stdout, after pointing file descriptor 1 at stderr.

    Libraries print; a stray line among the events would break their reader.
    """
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def finite(value: Any) -> Any:
    """The value with every NaN and infinity replaced by None, so that strict JSON readers accept it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
