"""Gateway + engine on /v1/classify, with keys, quota and metering on, against the same backend bare, and peers.

    python benchmarks/serving.py [--seconds 5] [--rounds 3] [--infinity VENV] [--litserve VENV] [--ray VENV]

One text of about 33 tokens a request, 77 labels, all answered; concurrency 1, 8, 32 and 128. All servers stand at the
same time and are pressed in turn, so that a busy neighbour hits them alike; read the ratios. `ours to it` is our
requests a second divided by theirs; `per cpu` is the same per second of processor time of all processes of a server
(gateway, engine and Redis for ours), which a busy machine disturbs least. Peers are measured where their environment
is named (`peers/README.md`), as shipped and tuned to bf16. The last line says what all cores could do if they did
nothing but the encoder's products (`machine.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from machine import Machine, encoder_flops
from product import Server, family_seconds, free_port, ours, running, texts, until_answers, uvicorn

LABELS = 77
PEERS = Path(__file__).parent / "peers"


@contextlib.contextmanager
def bare(artefact: Path) -> Iterator[Server]:
    port = free_port()
    with running(uvicorn("bare_server:application", port), BARE_ARTEFACT=str(artefact)) as process:
        until_answers(f"http://127.0.0.1:{port}/", process)
        yield Server("bare", f"http://127.0.0.1:{port}/", {}, process, "", [process])


def peer_folder(folder: Path) -> Path:
    """The same encoder with a classification head of as many labels, as peers read it."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from inference.catalogue import DEFAULT_BASE, bases

    base = str(bases()[DEFAULT_BASE].folder)
    config = BertConfig.from_pretrained(base, num_labels=LABELS)
    model = BertForSequenceClassification.from_pretrained(base, config=config)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described["tokenizer_class"] = "BertTokenizerFast"  # a peer pins an older transformers
    described.pop("extra_special_tokens", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return folder


@contextlib.contextmanager
def infinity(venv: Path, folder: Path, precision: str) -> Iterator[Server]:
    port = free_port()
    command = [str(venv / "bin" / "infinity_emb"), "v2", "--model-id", str(folder), "--port", str(port)]
    command += ["--served-model-name", "peer", "--no-bettertransformer", "--no-model-warmup", "--log-level", "error"]
    if precision == "bf16":
        command += ["--dtype", "bfloat16"]
    with running(command, PYTHONPATH="", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1") as process:
        until_answers(f"http://127.0.0.1:{port}/health", process)
        yield Server(f"infinity {precision}", f"http://127.0.0.1:{port}/classify", {}, process, "peer", [process])


@contextlib.contextmanager
def scripted(name: str, venv: Path, folder: Path, precision: str) -> Iterator[Server]:
    """A peer that `peers/<name>_app.py` starts."""
    port = free_port()
    command = [str(venv / "bin" / "python"), str(PEERS / f"{name}_app.py"), str(port)]
    given = {"PYTHONPATH": str(PEERS), "PEER_FOLDER": str(folder), "PEER_PRECISION": precision, "HF_HUB_OFFLINE": "1"}
    with running(command, **given) as process:
        path = "/health" if name == "litserve" else "/"
        until_answers(f"http://127.0.0.1:{port}{path}", process)
        url = f"http://127.0.0.1:{port}/" + ("predict" if name == "litserve" else "")
        yield Server(f"{name} {precision}", url, {}, process, "peer", [process])


async def measure(
    servers: list[Server], levels: list[int], rounds: int, seconds: float
) -> dict[str, dict[int, dict[str, float]]]:
    """Every server at every level, in turn, `rounds` times; medians."""
    from load import Load, Result, press

    found: dict[tuple[str, int], list[tuple[Result, float]]] = {}
    sentences = texts(500)
    for turn in range(rounds + 1):  # the first round only warms up
        for level in levels:
            for server in servers if turn % 2 else servers[::-1]:
                listed = server.name.startswith("infinity")
                value = [{"model": server.model, "input": [text] if listed else text} for text in sentences]
                load = Load(server.url, [json.dumps(body).encode() for body in value], server.headers)
                before = sum(map(family_seconds, server.all_processes))
                result = await press(load, connections=level, seconds=seconds if turn else 3.0)
                used = (sum(map(family_seconds, server.all_processes)) - before) * 1e6 / max(result.requests, 1)
                if turn:
                    found.setdefault((server.name, level), []).append((result, used))
    table: dict[str, dict[int, dict[str, float]]] = {}
    for (name, level), results in found.items():
        table.setdefault(name, {})[level] = {
            "rps": statistics.median(result.rps for result, _ in results),
            "p50_ms": statistics.median(result.p50 for result, _ in results),
            "p99_ms": statistics.median(result.p99 for result, _ in results),
            "cpu_us": statistics.median(used for _, used in results),
            "failed": sum(result.failed for result, _ in results),
        }
    return table


def limit() -> float:
    """Texts a second that the processor's products allow."""
    from tokenizers import Tokenizer

    from inference.catalogue import DEFAULT_BASE, bases

    folder = str(bases()[DEFAULT_BASE].folder)
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    lengths = [len(one.ids) for one in tokenizer.encode_batch(texts(500))]
    machine = Machine(os.cpu_count() or 1)
    try:
        return machine.measure().flops / encoder_flops(folder, lengths)
    finally:
        machine.close()


def show(table: dict[str, dict[int, dict[str, float]]], levels: list[int]) -> None:
    print(
        f"{'server':<15}{'c':>4}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'cpu us/req':>12}{'failed':>8}"
        f"{'ours to it':>12}{'per cpu':>9}"
    )
    for level in levels:
        for name, rows in table.items():
            row = rows[level]
            ours_here = table["tunesmith"][level]
            ratio, per_cpu = ours_here["rps"] / max(row["rps"], 1e-9), row["cpu_us"] / max(ours_here["cpu_us"], 1)
            print(
                f"{name:<15}{level:>4}{row['rps']:>9.0f}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}"
                f"{row['cpu_us']:>12.0f}{row['failed']:>8.0f}{ratio:>11.2f}x{per_cpu:>8.2f}x"
            )
    print(f"the machine's limit: {limit():.0f} texts/s of nothing but the encoder's products")
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", default="1,8,32,128")
    for peer in ("infinity", "litserve", "ray"):
        parser.add_argument(f"--{peer}", type=Path, help="its environment")
    parser.add_argument("--json", action="store_true", help="print the table as JSON as well")
    arguments = parser.parse_args()
    levels = [int(level) for level in arguments.levels.split(",")]
    with tempfile.TemporaryDirectory(prefix="bench-") as home, contextlib.ExitStack() as stack:
        os.chmod(home, 0o755)
        os.environ |= {"TUNESMITH_HOME": home, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "WARNING"}
        from tests.inference import reference
        from tests.inference.artefacts import make, record_parity

        artefact = make(Path(home) / "artefact", labels=LABELS, max_length=256)
        sample = texts(8)
        record_parity(artefact, sample, reference.probabilities(artefact, sample))
        servers = [stack.enter_context(ours(artefact.folder)), stack.enter_context(bare(artefact.folder))]
        named = {name: getattr(arguments, name) for name in ("infinity", "litserve", "ray")}
        folder = peer_folder(Path(home) / "peer") if any(named.values()) else Path()
        for name, venv in named.items():
            for precision in ("fp32", "bf16") if venv else ():
                start = infinity if name == "infinity" else functools.partial(scripted, name)
                servers.append(stack.enter_context(start(venv, folder, precision)))
        table = asyncio.run(measure(servers, levels, arguments.rounds, arguments.seconds))
    show(table, levels)
    if arguments.json:
        print(json.dumps(table))
    return int(any(row["failed"] for row in table["tunesmith"].values()))


if __name__ == "__main__":
    sys.exit(main())
