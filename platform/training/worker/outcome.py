"""What the end of a trainer means: whose fault it was, and the words for it. No Django.

The words are ours or the lab's own; what a trainer wrote to stderr is for the operator's log alone.
"""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["done", "failed", "crashed", "stopped"]
Fault = Literal["", "user", "data", "memory", "time", "disk", "platform"]

FAULTS: dict[str, Fault] = {
    "bad_data": "data",
    "diverged": "user",
    "out_of_memory": "memory",
    "timeout": "time",
    "disk": "disk",
    "processes": "data",
    "scratch": "platform",
    "companions": "platform",
    "killed": "platform",
    "silent": "platform",
    "internal": "platform",
}
"""Whose, or what kind of, fault an end with this code is. Of all but `platform` another try would end the same."""
ADVICE = {
    "bad_data": "",
    "diverged": " Lower learning_rate_multiplier (0.5 is a good start), or use the method 'lora'.",
    "out_of_memory": " Lower batch_size, or use the method 'lora' or 'head'.",
    "timeout": " Use fewer rows or passes, or a faster method.",
    "disk": " Use fewer rows, or the method 'lora' or 'head', whose checkpoints are small.",
    "processes": " Write to support: no data should lead to that.",
}
BY_EXIT = {2: "bad_data", 3: "diverged", 4: "out_of_memory"}
SCRATCH_FULL = 5
STOPPED = 75
WORDS = {
    "bad_data": "The data or the settings cannot be trained on.",
    "diverged": "The training diverged: the loss left the range of numbers.",
    "out_of_memory": "The training ran out of memory.",
}
LONGEST_MESSAGE = 1_000


@dataclass(frozen=True, slots=True)
class Excess:
    """More than an attempt may take: `out_of_memory` or `disk` in bytes, or `processes`."""

    code: str
    used: int
    limit: int

    @property
    def words(self) -> str:
        """What happened, with both figures."""
        if self.code == "processes":
            return f"The run started {self.used:,} processes; one may have {self.limit:,}."
        if self.code == "disk":
            return f"The run filled its scratch space: it may hold {_size(self.limit)}."
        return f"The training ran out of memory: it used {_size(self.used)}, and it may use {_size(self.limit)}."


@dataclass(frozen=True, slots=True)
class End:
    """`done`: there is an artefact. `failed`: another try would end the same. `crashed`: our fault, to be tried again.
    `stopped`: it obeyed a stop."""

    kind: Kind
    code: str = ""
    message: str = ""
    exit_code: int | None = None
    artefact: str = ""
    trained_tokens: int = 0
    steps: int = 0

    @property
    def fault(self) -> Fault:
        """Whose fault it was; empty where there is none."""
        return FAULTS.get(self.code, "")


def classify(
    status: int,
    *,
    done: dict[str, Any] | None,
    error: dict[str, Any] | None,
    killed_by_kernel: bool,
    excess: Excess | None = None,
    peak: int = 0,
) -> End:
    """The end of a trainer with this exit status (negative: a signal), its `done` and its `error` event if any, what it
    was stopped for, and the most memory it was seen with."""
    if excess is not None:
        return End("failed", excess.code, excess.words + ADVICE[excess.code], exit_code=status)
    if status == 0 and done is not None:
        return End(
            "done",
            exit_code=0,
            artefact=str(done.get("artefact", "")),
            trained_tokens=int(done.get("trained_tokens") or 0),
            steps=int(done.get("steps") or 0),
        )
    if status == STOPPED:
        return End("stopped", "stopped", "The trainer stopped when it was asked to.", exit_code=status)
    if killed_by_kernel:
        seen = f" It had used {_size(peak)} when it was last looked at." if peak else ""
        return _failed("out_of_memory", None, status, seen)
    if status in BY_EXIT:
        said = str(error.get("message", "")) if error and error.get("code") == BY_EXIT[status] else ""
        return _failed(BY_EXIT[status], said or None, status)
    if status == SCRATCH_FULL:
        return End("crashed", "scratch", "The disk of the machine was full.", exit_code=status)
    if status < 0:
        return End("crashed", "killed", f"The trainer was ended by signal {-status}.", exit_code=status)
    if status == 0:
        return End("crashed", "silent", "The trainer ended without a result.", exit_code=status)
    return End("crashed", "internal", f"The trainer failed inside (exit status {status}).", exit_code=status)


def in_company(end: End, *, own: bool) -> End:
    """The same end for a job that shared its process with others. What may be theirs is not held against it: it is
    tried again, and alone, since a job that has met a fault is in no group. `own`: its run told this end, or we made
    it."""
    if own and end.code not in ("out_of_memory", "processes"):
        return end
    words = "The process that the job shared with others ended early. It goes on in one of its own."
    return End("crashed", "companions", words, exit_code=end.exit_code)


def out_of_time(hours: float, exit_code: int | None) -> End:
    """The end of a run that was stopped at its time limit."""
    message = f"The run reached its time limit of {hours:g} hours." + ADVICE["timeout"]
    return End("failed", "timeout", message, exit_code=exit_code)


def _failed(code: str, said: str | None, status: int, seen: str = "") -> End:
    message = (said or WORDS[code]).rstrip()[:LONGEST_MESSAGE]
    advice = ADVICE[code] if said is None or code == "diverged" else ""
    return End("failed", code, message + seen + advice, exit_code=status)


def _size(count: int) -> str:
    """Bytes as people say them: 512 MB, 1.5 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1_000_000_000 else f"{max(1, round(count / 1e6)):,} MB"
