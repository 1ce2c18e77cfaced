"""A small lab that speaks the contract's events and exit codes. The config's seed says how it behaves.

With several configs it is a group: each run in a thread, its lines with its number, its end told, stopped by its file.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.registry.folders import artefact
from tests.registry.folders import seal as artefact_seal

WELL, BAD_DATA, DIVERGED, MEMORY, INTERNAL, SLOW, POISON, SILENT = 1, 2, 3, 4, 5, 6, 7, 8
SNEAKY, FLEEING, BOMB, GREEDY, FILLER, CURIOUS, SCRATCH = 9, 10, 11, 12, 13, 14, 15
STEADY, LOADER, BULKY, LONG = 16, 17, 18, 19
"""Of a fixed length, wherever they resume. LOADER has a process of its own that reads data; BULKY writes large
checkpoints; LONG takes twenty seconds and few tokens, so that no ceiling stops it."""
LINKED_FILE, LINKED_FOLDER, LINKED_PARENT, UPWARDS, ELSEWHERE, PIPE, SPARSE, ALTERED, ODD_NAME = TRICKS = range(20, 29)
"""Checkpoint and result are not what they are told to be: see `trick`."""
LIAR, TALKER, FORGER = 30, 31, 32
"""LIAR says what cannot be, TALKER far more than anybody reads, FORGER reports what no database takes."""
STEPS = 400
STEADY_STEPS = 60
BULK = 3_000_000
SECONDS = 0.05


whose = threading.local()
"""`fields` of a run of several: which it is."""
asked: list[int] = []
"""Signals that asked for a stop."""


def tell(event: str, **fields: Any) -> None:
    """One line."""
    sys.stdout.write(json.dumps({"event": event, **getattr(whose, "fields", {}), **fields}) + "\n")
    sys.stdout.flush()


def checkpoint(output: Path, step: int, *, bulk: int = 0) -> None:
    """A folder with a manifest."""
    folder = output / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    (folder / "tensors.bin").write_bytes(bytes(bulk))
    digest = seal(folder, step)
    tell("checkpoint", step=step, path=str(folder), manifest_sha256=digest)
    for old in sorted(folder.parent.iterdir())[:-2]:
        shutil.rmtree(old)


def seal(folder: Path, step: int) -> str:
    """Write the manifest of a checkpoint; its hash."""
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in folder.iterdir()
        if path.is_file()
    }
    manifest = json.dumps({"step": step, "files": files}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()


def trick(which: int, folder: Path, output: Path) -> str:
    """Make a whole folder of ours mean something of somebody else's; the path to be told."""
    prey = Path(json.loads(Path(__file__).with_name("prey.json").read_text())["prey"])
    if which == LINKED_FILE:
        (folder / "state.json").unlink(missing_ok=True)
        (folder / "state.json").symlink_to(prey / "state.json")
    elif which == LINKED_FOLDER:
        shutil.rmtree(folder)
        folder.symlink_to(prey)
    elif which == LINKED_PARENT:
        aside = output / f"beside-{folder.name}"
        aside.symlink_to(prey.parent)
        return str(aside / prey.name)
    elif which == UPWARDS:
        return str(output / os.path.relpath(prey, output))
    elif which == ELSEWHERE:
        return str(prey)
    elif which == PIPE:
        os.mkfifo(folder / "pipe.json")
    elif which == SPARSE:
        os.truncate(folder / "state.json", 1 << 40)
    elif which == ALTERED:
        (folder / "state.json").write_text("[]")
    elif which == ODD_NAME:
        (folder / "a\nb\udcff").write_text("")
    return str(folder)


def escape(name: str) -> None:
    """A grandchild in a session of its own, without our environment, whose parent is gone."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (0, 1, 2):
                os.close(number)
            os.execve("/bin/sleep", [f"sleep-{name}", "600"], {})
        os._exit(0)
    os.wait()


def looked_at(paths: list[str], port: int) -> dict[str, Any]:
    """What of this machine can be reached from here."""
    found: dict[str, Any] = {"environment": sorted(os.environ), "processes": len(list(Path("/proc").glob("[0-9]*")))}
    for path in paths:
        try:
            found[path] = "seen" if os.stat(path) else ""
            Path(path, "intruder").write_text("x")
            found[path] = "written"
        except OSError:
            found.setdefault(path, "absent")
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        found["network"] = True
    except OSError:
        found["network"] = False
    return found


def misbehave(seed: int, output: Path, config: dict[str, Any]) -> None:
    """What hostile data might make a trainer do."""
    job = Path(config["data"]).parent.name
    if seed in (SNEAKY, FLEEING):
        escape(job)
    if seed == FLEEING:
        os._exit(1)
    for _ in range(50 if seed == BOMB else 0):
        if os.fork() == 0:
            time.sleep(600)
    kept = []
    for number in range(100 if seed in (GREEDY, FILLER) else 0):
        if seed == GREEDY:
            kept.append(bytearray(os.urandom(1) * 10_000_000))
        else:
            (output / f"filling-{number}").write_bytes(bytes(2_000_000))
        time.sleep(0.05)
    if seed == CURIOUS:
        places = json.loads(Path(__file__).with_name("curious.json").read_text())
        tell("warning", code="looked", message=json.dumps(looked_at(places["paths"], places["port"])))
    if seed in (BOMB, GREEDY, FILLER):
        time.sleep(600)


def lie(seed: int) -> None:
    """Events that are none, and more of them than anybody wants."""
    for value in (2**70, -3, float("nan"), "7", [], None) if seed == LIAR else ():
        tell("step", step=value, total_steps=60, loss=0.5, tokens=value)
        tell("evaluation", step=1, loss=float("inf"), accuracy=value)
        tell("warning", code="a\0", message="\0")
        sys.stdout.write("x" * 3_000_000 + "\n")
    if seed == LIAR:
        tell("warning", code="odd", message="nul \0 and half \ud800")
    for number in range(100_000 if seed == TALKER else 0):
        tell("warning", code="talk", message=f"{number}")


def play(seed: int, output: Path) -> int:
    """A checkpoint and a result that are tricks."""
    folder = output / "checkpoints" / "step-00000099"
    folder.mkdir()
    (folder / "state.json").write_text("{}")
    digest = seal(folder, 99)
    tell("checkpoint", step=99, path=trick(seed, folder, output), manifest_sha256=digest)
    result = artefact(output / "artefact")
    (result / "state.json").write_text("{}")
    if seed in (LINKED_FILE, LINKED_FOLDER):
        artefact_seal(result)
    tell("done", artefact=trick(seed, result, output), report="", trained_tokens=60, steps=20)
    return 0


def main() -> int:
    """One run, or a group."""
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    if len(sys.argv) == 2:
        return behave(sys.argv[1])
    threads = [threading.Thread(target=take_part, args=pair) for pair in enumerate(sys.argv[1:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def take_part(job: int, path: str) -> None:
    """One run of a group."""
    whose.fields = {"job": job}
    tell("end", status=behave(path))


def behave(path: str) -> int:
    """One run, to its exit status."""
    config = json.loads(Path(path).read_text())
    seed, output = config["seed"], Path(config["output"])
    start = json.loads((Path(config["resume"]) / "state.json").read_text())["step"] if config["resume"] else 0
    (output / "secrets.json").write_text(json.dumps(sorted(os.environ)))
    tell("phase", phase="loading")
    if seed in (BAD_DATA, DIVERGED, MEMORY):
        code = {BAD_DATA: "bad_data", DIVERGED: "diverged", MEMORY: "out_of_memory"}[seed]
        tell("error", code=code, message=f"It was {code}.")
        return seed
    if seed in (INTERNAL, SCRATCH):
        return 1 if seed == INTERNAL else 5
    misbehave(seed, output, config)
    tell("phase", phase="training", step=start, total_steps=STEPS)
    if seed == LOADER:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    bulk = BULK if seed == BULKY else 0
    steady = seed in (STEADY, BULKY)
    per_step = 1 if seed in (LONG, LOADER) else 3
    slow = seed in (SLOW, SNEAKY, LOADER, LONG)
    steps = STEPS if slow or seed in (POISON, SILENT) else STEADY_STEPS if steady else start + 20
    for step in range(start + 1, steps + 1):
        time.sleep(SECONDS if steady or slow else 0.001)
        if asked or (output / "stop").exists():
            checkpoint(output, step, bulk=bulk)
            return 75
        if seed == POISON and step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == SILENT:
            time.sleep(60)
        tokens = step * per_step
        tell("step", step=step, total_steps=steps, epoch=step / 10, loss=1 / step, tokens=tokens, grad_norm=None)
        if step % 10 == 0:
            checkpoint(output, step, bulk=bulk)
    if seed in TRICKS:
        return play(seed, output)
    lie(seed)
    tell("evaluation", step=steps, epoch=2, loss=0.5, accuracy=0.9, macro_f1=0.8)
    result = artefact(output / "artefact")
    if seed == FORGER:
        (result / "report.json").write_text('{"test": {"accuracy": NaN, "note": "\\u0000"}}')
        artefact_seal(result)
    tell("done", artefact=str(result), report="", trained_tokens=steps * per_step, steps=steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
