"""Gateway + engine on /v1/classify, with keys, quota and metering on, against the same backend bare, and a peer.

    python benchmarks/serving.py [--seconds 5] [--rounds 3] [--infinity-python PATH]

One text of about 33 tokens a request, 77 labels, all answered; concurrency 1, 8, 32 and 128. All servers stand at the
same time and are pressed in turn, so that a busy neighbour hits them alike; read the ratios. `ours to it` is our
requests a second divided by theirs; `per cpu` is the same per second of processor time of all processes of a server
(gateway, engine and Redis for ours), which a busy machine disturbs least. `infinity-emb` is left out unless a Python
that has it is named; it must not be installed into this project's environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from product import Server, cpu_seconds, free_port, ours, running, texts, until_answers, uvicorn

LEVELS = (1, 8, 32, 128)
LABELS = 77


@contextlib.contextmanager
def bare(artefact: Path) -> Iterator[Server]:
    port = free_port()
    with running(uvicorn("bare_server:application", port), BARE_ARTEFACT=str(artefact)) as process:
        until_answers(f"http://127.0.0.1:{port}/", process)
        yield Server("bare", f"http://127.0.0.1:{port}/", {}, process, "", [process])


@contextlib.contextmanager
def infinity(python: str, folder: Path) -> Iterator[Server]:
    """infinity-emb as shipped, on the same encoder with a classification head of as many labels."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from inference.catalogue import DEFAULT_BASE, bases

    base = str(bases()[DEFAULT_BASE].folder)
    config = BertConfig.from_pretrained(base, num_labels=LABELS)
    model = BertForSequenceClassification.from_pretrained(base, config=config)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described["tokenizer_class"] = "BertTokenizerFast"  # the peer pins an older transformers
    described.pop("extra_special_tokens", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    port = free_port()
    command = [str(Path(python).parent / "infinity_emb"), "v2", "--model-id", str(folder), "--port", str(port)]
    command += ["--served-model-name", "peer", "--no-bettertransformer", "--no-model-warmup", "--log-level", "error"]
    with running(command, PYTHONPATH="", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1") as process:
        until_answers(f"http://127.0.0.1:{port}/health", process)
        yield Server("infinity", f"http://127.0.0.1:{port}/classify", {}, process, "peer", [process])


async def measure(servers: list[Server], rounds: int, seconds: float) -> dict[str, dict[int, dict[str, float]]]:
    """Every server at every level, in turn, `rounds` times; medians."""
    from load import Load, Result, press

    found: dict[tuple[str, int], list[tuple[Result, float]]] = {}
    sentences = texts(500)
    for turn in range(rounds + 1):  # the first round only warms up
        for level in LEVELS:
            for server in servers if turn % 2 else servers[::-1]:
                value = [{"model": server.model, "input": text if server.name != "infinity" else [text]}
                         for text in sentences]  # fmt: skip
                load = Load(server.url, [json.dumps(body).encode() for body in value], server.headers)
                before = sum(map(cpu_seconds, server.all_processes))
                result = await press(load, connections=level, seconds=seconds if turn else 3.0)
                used = (sum(map(cpu_seconds, server.all_processes)) - before) * 1e6 / max(result.requests, 1)
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


def show(table: dict[str, dict[int, dict[str, float]]]) -> None:
    print(
        f"{'server':<12}{'c':>4}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'cpu us/req':>12}{'failed':>8}"
        f"{'ours to it':>12}{'per cpu':>9}"
    )
    for level in LEVELS:
        for name, rows in table.items():
            row = rows[level]
            ours_here = table["tunesmith"][level]
            ratio, per_cpu = ours_here["rps"] / max(row["rps"], 1e-9), row["cpu_us"] / max(ours_here["cpu_us"], 1)
            print(
                f"{name:<12}{level:>4}{row['rps']:>9.0f}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}"
                f"{row['cpu_us']:>12.0f}{row['failed']:>8.0f}{ratio:>11.2f}x{per_cpu:>8.2f}x"
            )
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--infinity-python", default="")
    parser.add_argument("--json", action="store_true", help="print the table as JSON as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, contextlib.ExitStack() as stack:
        os.chmod(home, 0o755)
        os.environ |= {"TUNESMITH_HOME": home, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "WARNING"}
        from tests.inference import reference
        from tests.inference.artefacts import make, record_parity

        artefact = make(Path(home) / "artefact", labels=LABELS, max_length=256)
        sample = texts(8)
        record_parity(artefact, sample, reference.probabilities(artefact, sample))
        servers = [stack.enter_context(ours(artefact.folder)), stack.enter_context(bare(artefact.folder))]
        if arguments.infinity_python:
            servers.append(stack.enter_context(infinity(arguments.infinity_python, Path(home) / "infinity")))
        table = asyncio.run(measure(servers, arguments.rounds, arguments.seconds))
    show(table)
    if arguments.json:
        print(json.dumps(table))
    return int(any(row["failed"] for row in table["tunesmith"].values()))


if __name__ == "__main__":
    sys.exit(main())
