"""Where a run computes: device, precision and threads.

Small encoders are limited by memory traffic and by how well the cores keep step. Two threads on two cores are
best; more than the physical cores, or threads that spin while a neighbour needs the core, can be several times
slower. So `prepare_process` (called before torch is imported) bounds how long OpenMP spins, and the default number of
threads is the number of physical cores this process may use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from training.lab.config import Config
from training.lab.errors import BadData


@dataclass(frozen=True, slots=True)
class Place:
    """Device, whether matrices run in bf16, and CPU threads."""

    device: torch.device
    bf16: bool
    threads: int

    @property
    def precision(self) -> str:
        """The word in the report."""
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> torch.autocast:
        """The context for a training forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def place_for(config: Config) -> Place:
    """Resolve device, precision and threads, and set torch up for them."""
    device = _device(config.device)
    threads = max(1, physical_cores() // config.gpus) if config.threads == "auto" else config.threads
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # Adam's moments fade into denormals, which are slow
    able = has_bf16(device)
    if config.precision == "bf16" and not able:
        raise BadData("Config field 'precision' is 'bf16', but this device has no bf16 arithmetic. Use 'auto'.")
    bf16 = able if config.precision == "auto" else config.precision == "bf16"
    return Place(device=device, bf16=bf16, threads=threads)


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products are native here (emulated ones are slower than fp32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def physical_cores() -> int:
    """Physical cores this process may use: affinity, without hyper-threads, within the cgroup's quota."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text().strip() if path.exists() else str(cpu))
    return max(1, min(len(siblings), _cgroup_cores()))


def _cgroup_cores() -> int:
    """Cores by the cgroup v2 quota, rounded up; a large number where there is none."""
    path = Path("/sys/fs/cgroup/cpu.max")
    if not path.exists():
        return 4096
    quota, period = path.read_text().split()[:2]
    return 4096 if quota == "max" else max(1, -(-int(quota) // int(period)))


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise BadData("Config field 'device' is 'cuda', but no CUDA device is visible.")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")
