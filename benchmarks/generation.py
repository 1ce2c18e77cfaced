"""Tokens a second of the engine that writes, with none to many adapters in the batch, against what others run.

    python benchmarks/generation.py [--rounds 3] [--new 32] [--threads 1] [--levels 1 8 32] [--adapters 0 1 8 32]
        [--serve PATH] [--vllm PROGRAM] [--peft PATH]

The base is a random Llama of 124.6 million parameters (30 layers, hidden 576, vocabulary 32,000) in bf16 where the
processor has it; speed only. Prompts of 32 tokens, greedy, every request a different text. Contenders are pressed in
turn, so that a busy neighbour hits them alike; read the ratios. `the machine` is what its speed of products and of
reading memory, measured beside the others, would allow (`machine.py`). `generate` is the library's own static batch in
a process of its own. `serve` is `transformers serve --continuous-batching`, left out unless `--serve` names a folder
with its dependencies (`pip install --target PATH fastapi rich accelerate psutil`), which must not be installed into
this project's environment. `vllm` is a vLLM server with all adapters, left out unless `--vllm` names its program in an
environment of its own; `peft` is PEFT's `generate` with an adapter a row, left out unless `--peft` names a folder (`pip
install --target PATH --no-deps peft accelerate psutil`). Everybody who is named is in memory at once; vLLM keeps the
cores it is bound to busy, so name it alone with ours where there are few.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation_peers import Peft, as_peft, press_vllm, vllm
from machine import Machine
from product import free_port, running

TOKEN = "generation"
PROMPT = 32
ADAPTERS = (0, 1, 8, 32)
VOCABULARY = 32_000
HEAD = VOCABULARY * 576
BODY = 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536)
"""Weights that a token is multiplied with: in the layers, and the tied embedding where one is chosen after it."""
WORDS = ["".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz", k=5)) for number in range(2000)]
"""Each is one token of the benchmark's tokenizer."""


def make_base(folder: Path) -> None:
    """A random Llama and a tokenizer that names every token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f" {word}" for word in WORDS for _ in range(3)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def make_adapters(folder: Path, base: Path) -> list[tuple[str, str]]:
    """(folder, hash) of 32 random adapters of rank 8 on every linear layer."""
    import hashlib

    import numpy as np
    from safetensors.numpy import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    linears = {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if ".layers." in name and hasattr(module, "in_features")
    }
    made = []
    for number in range(max(ADAPTERS)):
        rng, home = np.random.default_rng(number), folder / str(number)
        home.mkdir()
        tensors = {f"{name}.A": rng.normal(0, 0.02, (8, inside)) for name, (inside, _) in linears.items()}
        tensors |= {f"{name}.B": rng.normal(0, 0.02, (outside, 8)) for name, (_, outside) in linears.items()}
        save_file({name: array.astype(np.float32) for name, array in tensors.items()}, home / "adapter.safetensors")
        data = (home / "adapter.safetensors").read_bytes()
        manifest = {
            "format": 1, "task": "text-generation", "base": "bench", "method": "lora", "labels": [],
            "max_length": 2048, "lora": {"rank": 8, "alpha": 16.0, "targets": list(linears)},
            "files": {"adapter.safetensors": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}},
        }  # fmt: skip
        (home / "artefact.json").write_text(json.dumps(manifest))
        made.append((str(home), hashlib.sha256((home / "artefact.json").read_bytes()).hexdigest()))
    return made


class Ours:
    """The engine as a process, asked over its socket."""

    def __init__(self, address: str, adapters: list[tuple[str, str]]) -> None:
        from inference.client import EngineClient

        self.client = EngineClient(address, TOKEN, timeout=120.0)
        self._adapters = adapters

    async def load(self) -> None:
        """Bring all adapters into memory."""
        for number, (folder, sha256) in enumerate(self._adapters):
            await self.client.load(tenant=f"t{number}", model=f"m{number}", folder=folder, sha256=sha256)

    async def press(self, level: int, adapters: int, new: int) -> float:
        """Tokens a second of `level` requests at once, over so many different adapters."""
        from inference import wire

        async def one(number: int) -> int:
            which = number % adapters if adapters else None
            named = {"base": "bench"} if which is None else {"model": f"m{which}"}
            generation = await self.client.generate(
                tenant=f"t{which or 0}", **named,
                prompt=[random.randrange(2, VOCABULARY) for _ in range(PROMPT)],
                sampling=wire.Sampling(new, temperature=0.0), allowed=new, stream=True,
            )  # fmt: skip
            return sum([piece.tokens async for piece in generation])

        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(number) for number in range(level))))
        return tokens / (time.perf_counter() - started)


class Generate:
    """The library's static batch, in a process that is told how many rows to write."""

    SCRIPT = """
import sys, time, torch
from transformers import AutoModelForCausalLM
folder, new, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
print("ready", flush=True)
for line in sys.stdin:
    rows = int(line)
    ids = torch.randint(2, 32000, (rows, 32))
    started = time.perf_counter()
    with torch.inference_mode():
        seen = torch.ones_like(ids)
        out = model.generate(ids, attention_mask=seen, max_new_tokens=new, do_sample=False, pad_token_id=1)
    print(rows * (out.shape[1] - 32) / (time.perf_counter() - started), flush=True)
"""

    def __init__(self, base: Path, new: int, threads: int) -> None:
        command = [sys.executable, "-c", self.SCRIPT, str(base), str(new), str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._read()

    def press(self, level: int) -> float:
        """Tokens a second of a batch of `level` rows."""
        print(level, file=self._process.stdin, flush=True)
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(30)

    def _read(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("the static batch ended")
        return line


@contextlib.contextmanager
def serve(base: Path, extra: str, threads: int) -> Iterator[str]:
    """`transformers serve --continuous-batching` on the base; its address."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", "--continuous-batching", "--port", str(port)]
    command += ["--device", "cpu", "--dtype", "bfloat16", str(base)]
    paths = {"PYTHONPATH": extra, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    with running(command, **paths) as process:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError("transformers serve ended before it was ready")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1/chat/completions"


async def press_serve(url: str, base: Path, level: int, new: int) -> float:
    """Tokens a second of `level` requests at once."""
    import aiohttp

    async def one(session: Any) -> int:
        text = "".join(f" {word}" for word in random.choices(WORDS, k=PROMPT))
        body = {"model": str(base), "messages": [{"role": "user", "content": text}], "max_tokens": new,
                "temperature": 0.0, "stream": False}  # fmt: skip
        async with session.post(url, json=body) as answer:
            told = await answer.json()
            return int(told["usage"]["completion_tokens"])

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(session) for _ in range(level))))
        return tokens / (time.perf_counter() - started)


@dataclass
class Peers:
    """Who is measured beside ours; what was not named is empty."""

    plain: Generate
    machine: Machine
    serve: str = ""
    vllm: str = ""
    peft: Peft | None = None


async def measure(options: argparse.Namespace, base: Path, ours: Ours, peers: Peers) -> None:
    """Press everybody in turn and print the table."""
    await ours.load()
    for level in options.levels:
        found: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for adapters in (count for count in options.adapters if count <= level):
                name = f"{adapters} adapters"
                found.setdefault(f"ours, {name}", []).append(await ours.press(level, adapters, options.new))
                if peers.vllm:
                    rate = await press_vllm(peers.vllm, level, adapters, options.new)
                    found.setdefault(f"vllm, {name}", []).append(rate)
                if peers.peft is not None and adapters:
                    rate = await asyncio.to_thread(peers.peft.press, level, adapters)
                    found.setdefault(f"peft, {name}", []).append(rate)
            found.setdefault("generate", []).append(await asyncio.to_thread(peers.plain.press, level))
            speed = await asyncio.to_thread(peers.machine.measure)
            found.setdefault("the machine", []).append(speed.writing(BODY, HEAD, level, PROMPT, options.new))
            if peers.serve:
                found.setdefault("serve", []).append(await press_serve(peers.serve, base, level, options.new))
        mine = statistics.median(found["ours, 0 adapters"])
        print(f"at {level} at once")
        for name, speeds in found.items():
            middle = statistics.median(speeds)
            print(f"  {name:18} {middle:8.1f} tokens/s   to ours without adapters {middle / mine:5.2f}", flush=True)


def main() -> None:
    """Start everybody, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=32, help="tokens of each text")
    parser.add_argument(
        "--threads", type=int, default=1, help="of every contender: two wait for each other on a busy machine"
    )
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--serve", default="", help="folder with the dependencies of `transformers serve`")
    parser.add_argument("--adapters", type=int, nargs="+", default=ADAPTERS, help="different ones in a batch; 0 first")
    parser.add_argument("--vllm", default="", help="the program of a vLLM in an environment of its own")
    parser.add_argument("--peft", default="", help="folder with PEFT and what it needs")
    options = parser.parse_args()
    if options.adapters[0] != 0 or max(options.adapters) > max(ADAPTERS):
        parser.error(f"--adapters begins with 0 and goes up to {max(ADAPTERS)}")
    with tempfile.TemporaryDirectory() as home:
        base, adapters = Path(home) / "base", Path(home) / "adapters"
        base.mkdir()
        adapters.mkdir()
        make_base(base)
        made = make_adapters(adapters, base)
        catalogue = Path(home) / "bases.json"
        catalogue.write_text(json.dumps({"bases": {"bench": {"folder": str(base), "max_length": 2048}}}))
        address = f"unix:{home}/engine"
        command = [sys.executable, "-m", "inference", "--listen", address, "--catalogue", str(catalogue)]
        command += ["--threads", str(options.threads)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(running(command, TUNESMITH_ENGINE_TOKEN=TOKEN, OMP_NUM_THREADS=str(options.threads)))
            url = stack.enter_context(serve(base, options.serve, options.threads)) if options.serve else ""
            peers = Peers(Generate(base, options.new, options.threads), Machine(options.threads), url)
            stack.callback(peers.plain.close)
            stack.callback(peers.machine.close)
            folders = as_peft(made, Path(home) / "peft") if options.vllm or options.peft else []
            if options.vllm:
                peers.vllm = stack.enter_context(vllm(options.vllm, base, folders, options.threads))
            if options.peft:
                peers.peft = Peft(options.peft, base, folders, options.new, options.threads)
                stack.callback(peers.peft.close)
            _wait(address)

            async def run() -> None:
                await measure(options, base, Ours(address, made), peers)

            asyncio.run(run())
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


def _wait(address: str) -> None:
    from inference.client import BlockingClient
    from inference.errors import Unavailable

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with BlockingClient(address, TOKEN) as client:
                client.health()
            return
        except Unavailable:
            time.sleep(0.2)
    raise RuntimeError("the engine was not ready within two minutes")


if __name__ == "__main__":
    main()
