"""What `generation.py` compares with where adapters are asked for: a vLLM server, and PEFT's batches of mixed adapters.

Both live outside this project's environment; both read the same adapters, written as PEFT keeps them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from product import free_port, running, until_answers

PROMPT, VOCABULARY = 32, 32_000
RANK = 8


def as_peft(adapters: list[tuple[str, str]], home: Path) -> list[Path]:
    """The folders of artefacts as folders of PEFT's."""
    from safetensors.numpy import load_file

    from inference.adapters import Adapter
    from inference.generation.vllm.shelf import write_peft

    made = []
    for number, (folder, _) in enumerate(adapters):
        tensors = load_file(Path(folder) / "adapter.safetensors")
        names = sorted({name.rpartition(".")[0] for name in tensors})
        down = {(0, name): tensors[f"{name}.A"] for name in names}
        up = {(0, name): tensors[f"{name}.B"] * 2 for name in names}  # alpha 16 over rank 8
        write_peft(home / str(number), Adapter(RANK, down, up))
        made.append(home / str(number))
    return made


@contextlib.contextmanager
def vllm(program: str, base: Path, adapters: list[Path], threads: int) -> Iterator[str]:
    """A vLLM server that knows all adapters; its address."""
    port = free_port()
    command = [program, "serve", str(base), "--port", str(port), "--served-model-name", "bench", "--dtype", "bfloat16"]
    command += ["--max-model-len", "2048", "--max-num-seqs", "64", "--no-enable-prefix-caching", "--enable-lora"]
    command += ["--max-lora-rank", str(RANK), "--max-loras", str(len(adapters)), "--generation-config", "vllm"]
    command += ["--lora-modules", *(f"m{number}={folder}" for number, folder in enumerate(adapters))]
    environment = {
        "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": str(max(0, (os.cpu_count() or 1) - threads)),
    }  # fmt: skip
    with running(command, **environment) as process:
        until_answers(f"http://127.0.0.1:{port}/health", process, seconds=900)
        yield f"http://127.0.0.1:{port}/v1/completions"


async def press_vllm(url: str, level: int, adapters: int, new: int) -> float:
    """Tokens a second of `level` requests at once, over so many different adapters."""
    import aiohttp

    async def one(session: Any, number: int) -> int:
        prompt = [random.randrange(2, VOCABULARY) for _ in range(PROMPT)]
        body = {"model": f"m{number % adapters}" if adapters else "bench", "prompt": prompt, "max_tokens": new,
                "temperature": 0.0, "ignore_eos": True}  # fmt: skip
        async with session.post(url, json=body) as answer:
            return int((await answer.json())["usage"]["completion_tokens"])

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(900)) as session:
        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(session, number) for number in range(level))))
        return tokens / (time.perf_counter() - started)


class Peft:
    """`PeftModel.generate(adapter_names=…)`: a static batch with an adapter for each row, in a process of its own."""

    SCRIPT = """
import sys, time, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, new, threads, folders = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
model = PeftModel.from_pretrained(model, folders[0], adapter_name="m0", autocast_adapter_dtype=False)
for number, folder in enumerate(folders[1:], 1):
    model.load_adapter(folder, adapter_name=f"m{number}", autocast_adapter_dtype=False)
model.eval()
print("ready", flush=True)
for line in sys.stdin:
    rows, adapters = map(int, line.split())
    ids = torch.randint(2, 32000, (rows, 32))
    started = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
            do_sample=False, pad_token_id=1, adapter_names=[f"m{row % adapters}" for row in range(rows)])
    print(rows * (out.shape[1] - 32) / (time.perf_counter() - started), flush=True)
"""

    def __init__(self, extra: str, base: Path, adapters: list[Path], new: int, threads: int) -> None:
        command = [sys.executable, "-c", self.SCRIPT, str(base), str(new), str(threads), *map(str, adapters)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": extra, "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._read()

    def press(self, level: int, adapters: int) -> float:
        """Tokens a second of a batch of `level` rows over so many adapters."""
        print(level, adapters, file=self._process.stdin, flush=True)
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(30)

    def _read(self) -> str:
        while line := self._process.stdout.readline() if self._process.stdout else "":
            if line[0].isdigit() or line.startswith("ready"):
                return line
        raise RuntimeError("the batch of mixed adapters ended")
