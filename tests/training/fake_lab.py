"""A lab of forty lines that speaks the contract's events and exit codes. The config's seed says how it behaves."""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.registry.folders import artefact

WELL, BAD_DATA, DIVERGED, MEMORY, INTERNAL, SLOW, POISON, SILENT = 1, 2, 3, 4, 5, 6, 7, 8
STEPS = 400
SECONDS = 0.05


def tell(event: str, **fields: Any) -> None:
    """One line."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def checkpoint(output: Path, step: int) -> None:
    """A folder with a manifest."""
    folder = output / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    manifest = json.dumps({"step": step}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    tell("checkpoint", step=step, path=str(folder), manifest_sha256=hashlib.sha256(manifest).hexdigest())


def main() -> int:
    """Behave."""
    config = json.loads(Path(sys.argv[1]).read_text())
    seed, output = config["seed"], Path(config["output"])
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    start = json.loads((Path(config["resume"]) / "state.json").read_text())["step"] if config["resume"] else 0
    (output / "secrets.json").write_text(json.dumps(sorted(os.environ)))
    tell("phase", phase="loading")
    if seed in (BAD_DATA, DIVERGED, MEMORY):
        code = {BAD_DATA: "bad_data", DIVERGED: "diverged", MEMORY: "out_of_memory"}[seed]
        tell("error", code=code, message=f"It was {code}.")
        return seed
    if seed == INTERNAL:
        return 1
    tell("phase", phase="training", step=start, total_steps=STEPS)
    steps = STEPS if seed in (SLOW, POISON, SILENT) else start + 20
    for step in range(start + 1, steps + 1):
        time.sleep(SECONDS if seed == SLOW else 0.001)
        if stopped:
            checkpoint(output, step)
            return 75
        if seed == POISON and step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == SILENT:
            time.sleep(60)
        tell("step", step=step, total_steps=steps, epoch=step / 10, loss=1 / step, tokens=step * 3, grad_norm=None)
        if step % 10 == 0:
            checkpoint(output, step)
    tell("evaluation", step=steps, epoch=2, loss=0.5, accuracy=0.9, macro_f1=0.8)
    tell("done", artefact=str(artefact(output / "artefact")), report="", trained_tokens=steps * 3, steps=steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
