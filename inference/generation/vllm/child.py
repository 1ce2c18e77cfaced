"""A vLLM server as a process of the engine's: started, watched, started again after a while, stopped with it.

It listens on a socket in a folder that only this user may enter, and asks for a key that only the engine knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from inference.catalogue import Base, Vllm
from inference.errors import BadArtefact
from inference.settings import Settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 15.0
POLL_SECONDS = 0.1
MOST_LINE = 4096
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
STEADY_SECONDS = 300.0  # after so long a life the next pause is short again
MOST_LOGPROBS = 20
GRAMMARS = json.dumps({"backend": "guidance", "disable_any_whitespace": True})  # as `generation.grammar`
GIB = 1024**3
PASSED = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "CC", "CXX", "CPATH", "LIBRARY_PATH", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
    "MALLOC_ARENA_MAX",
})  # fmt: skip
PASSED_FAMILIES = (
    "LC_", "VLLM_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_", "FLASHINFER_",
    "OMP_", "KMP_", "MKL_", "OPENBLAS_", "HIP_", "ROCR_", "ROCM_", "HSA_",
)  # fmt: skip
"""What the server needs of the engine's environment: where programs, libraries, devices and caches are."""
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """One server. `address` and `key` stay the same however often it is started."""

    def __init__(self, base: Base, options: Vllm, settings: Settings, *, limit: int, precision: str) -> None:
        program = shutil.which(settings.vllm)
        if program is None:
            raise BadArtefact(
                f"Base {base.name!r} is served by vLLM, but there is no program {settings.vllm!r}: name it with "
                "--vllm, or give the address of a server that runs."
            )
        self._home = tempfile.mkdtemp(prefix="vllm-")  # mode 0700
        self.key = secrets.token_urlsafe(32)
        self.address = f"unix:{self._home}/socket"
        self.started = 0
        self._name = base.name
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [program, *arguments(base, options, settings, f"{self._home}/socket", limit, precision)]
        self._environment = environment(settings, self.key)
        self._pause = FIRST_PAUSE

    def start(self) -> None:
        """Start it, or start it again."""
        Path(self._home, "socket").unlink(missing_ok=True)
        self.started += 1
        process = self._process = subprocess.Popen(
            self._command, env=self._environment, cwd=self._home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip
        threading.Thread(target=self._pass_on, args=(process.stdout,), name="vllm-log", daemon=True).start()
        log.info("vLLM for base %s starts as process %d", self._name, process.pid)

    async def watch(self) -> None:
        """Until it ends, and then as long as is right before the next start."""
        began = time.monotonic()
        assert self._process is not None, "watched once it was started"
        while (code := self._process.poll()) is None:
            await asyncio.sleep(POLL_SECONDS)
        self._kill(signal.SIGKILL)  # what it left behind of its group
        if time.monotonic() - began > STEADY_SECONDS:
            self._pause = FIRST_PAUSE
        log.error("vLLM for base %s ended with %d; it starts again in %.0f s", self._name, code, self._pause)
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def end(self) -> None:
        """End the process and all that it started."""
        if self._process is not None:
            self._kill(signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(POLL_SECONDS)
            self._kill(signal.SIGKILL)
            await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        """End it for good."""
        await self.end()
        shutil.rmtree(self._home, ignore_errors=True)

    def _pass_on(self, said: IO[bytes]) -> None:
        """In a thread: what it says, a line at a time."""
        with said:
            while line := said.readline(MOST_LINE):
                log.info("vLLM of %s: %s", self._name, line.decode(errors="replace").rstrip())

    def _kill(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def arguments(base: Base, options: Vllm, settings: Settings, socket: str, limit: int, precision: str) -> list[str]:
    """Of `vllm`. The catalogue's come last, so that they win."""
    return [
        "serve", str(base.folder), "--served-model-name", base.name, "--uds", socket,
        "--dtype", "float32" if precision == "fp32" else "bfloat16",
        "--max-model-len", str(limit), "--max-num-seqs", str(settings.writing_rows),
        "--generation-config", "vllm", "--max-logprobs", str(MOST_LOGPROBS), "--enable-prompt-tokens-details",
        "--structured-outputs-config", GRAMMARS, "--enable-prefix-caching", "--disable-uvicorn-access-log",
        "--enable-lora", "--max-lora-rank", str(options.rank), "--max-loras", str(options.together),
        "--max-cpu-loras", str(max(options.adapters, options.together)), *options.arguments,
    ]  # fmt: skip


def environment(settings: Settings, key: str) -> dict[str, str]:
    """What the server sees: none of the engine's secrets, and no way to fetch anything."""
    kept = {name: value for name, value in os.environ.items() if name in PASSED or name.startswith(PASSED_FAMILIES)}
    return kept | {
        "VLLM_API_KEY": key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", str(max(1, settings.cache_bytes // GIB))),
    }  # fmt: skip


def _die_with_parent() -> None:
    """Between fork and exec: a server whose engine was killed would hold its memory for nobody."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
