"""What the end of a trainer means: whose fault it was, and the words for it. No Django."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["done", "failed", "crashed", "stopped"]

ADVICE = {
    "bad_data": "",
    "diverged": " Lower learning_rate_multiplier (0.5 is a good start), or use the method 'lora'.",
    "out_of_memory": " Lower batch_size, or use the method 'lora' or 'head'.",
}
BY_EXIT = {2: "bad_data", 3: "diverged", 4: "out_of_memory"}
STOPPED = 75
WORDS = {
    "bad_data": "The data or the settings cannot be trained on.",
    "diverged": "The training diverged: the loss left the range of numbers.",
    "out_of_memory": "The training ran out of memory.",
}


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


def classify(status: int, *, done: dict[str, Any] | None, error: dict[str, Any] | None, killed_by_kernel: bool) -> End:
    """The end of a trainer with this exit status (negative: a signal), its `done` and its `error` event if any."""
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
        return _failed("out_of_memory", None, status)
    if status in BY_EXIT:
        said = str(error.get("message", "")) if error and error.get("code") == BY_EXIT[status] else ""
        return _failed(BY_EXIT[status], said or None, status)
    if status < 0:
        return End("crashed", "killed", f"The trainer was ended by signal {-status}.", exit_code=status)
    if status == 0:
        return End("crashed", "silent", "The trainer ended without a result.", exit_code=status)
    return End("crashed", "internal", f"The trainer failed inside (exit status {status}).", exit_code=status)


def _failed(code: str, said: str | None, status: int) -> End:
    message = (said or WORDS[code]).rstrip()
    advice = ADVICE[code] if said is None or code == "diverged" else ""
    return End("failed", code, message + advice, exit_code=status)
