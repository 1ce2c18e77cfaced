"""The engines that compute a BERT: OpenVINO, ONNX Runtime and torch; and transformers for what is no BERT.

Which one is taken on a machine is measured there, by `inference.trial`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

from inference.encoder import Backend, HubBackend

NAMES = ("openvino", "onnxruntime", "torch")
"""Every backend, by the library it needs."""
PRECISIONS = {"openvino": ("bf16", "fp32"), "onnxruntime": ("fp32",), "torch": ("bf16", "fp32")}


def installed() -> list[str]:
    """The backends whose library is here."""
    return [name for name in NAMES if importlib.util.find_spec(name)]


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def lanes(threads: int) -> int:
    """How many batches a CPU computes at once when `threads` may be used: two, so that a flood leaves one to others.

    Each lane has its share of the threads. Small batches lose little by that, large ones nothing in sum.
    """
    return min(threads, 2)


def choose(name: str, *, device: str, precision: str, threads: int = 0) -> Backend:
    """The backend of this name. `threads` 0 leaves their number to the backend.

    Raises `ValueError` for an unknown name or precision and `ImportError` where the library is not installed. The
    module is imported here, by name, so that a process that runs on OpenVINO never pays for torch.
    """
    if name not in NAMES:
        raise ValueError(f"Unknown backend {name!r}: write auto, {', '.join(NAMES)}.")
    module = importlib.import_module(f"inference.backends.{name}_backend")
    backend: Backend = module.create(device=device, precision=precision, threads=threads)
    return backend


def hub(*, device: str, precision: str, threads: int = 0) -> HubBackend:
    """The backend for bases that are not BERT. torch and transformers are imported only now."""
    module = importlib.import_module("inference.backends.hub_backend")
    backend: HubBackend = module.create(device=device, precision=precision, threads=threads)
    return backend
