"""The engines that compute: OpenVINO on CPUs, torch on GPUs, chosen once at start; transformers for what is no BERT."""

from __future__ import annotations

import importlib

from inference.encoder import Backend, HubBackend


def choose(name: str, *, device: str, precision: str, threads: int) -> Backend:
    """The backend of this name; "auto" takes torch for a CUDA device and OpenVINO otherwise.

    Raises `ValueError` for an unknown name and `ImportError` where the library is not installed. The module is
    imported here, by name, so that a process that runs on OpenVINO never pays for torch.
    """
    if name == "auto":
        name = "torch" if device.startswith("cuda") else "openvino"
    if name not in ("openvino", "torch"):
        raise ValueError(f"Unknown backend {name!r}: write auto, openvino or torch.")
    module = importlib.import_module(f"inference.backends.{name}_backend")
    backend: Backend = module.create(device=device, precision=precision, threads=threads)
    return backend


def hub(*, device: str, precision: str, threads: int) -> HubBackend:
    """The backend for bases that are not BERT. torch and transformers are imported only now."""
    module = importlib.import_module("inference.backends.hub_backend")
    backend: HubBackend = module.create(device=device, precision=precision, threads=threads)
    return backend
