"""Reads the folder that training leaves behind, and refuses anything that is not exactly as promised.

`artefact.json` names every file with its hash and size; whoever sends `load` vouches for `artefact.json` itself with a
hash of its own. Files are read once, hashed and parsed from the same bytes, so nothing can change in between. Links,
other folders, pickles and unlisted files are never opened.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import numpy as np

from inference.errors import BadArtefact
from inference.geometry import Geometry, Sizes, adapter_shapes
from inference.recorded import AnyRecorded, read_recorded
from inference.tasks import ANSWERS, DENSE, EMBEDDINGS, ENDS, LABELS, MAX_LABELS
from inference.tensors import Array, read_tensors

T = TypeVar("T")

MANIFEST = "artefact.json"
NEIGHBOURS = "neighbours.safetensors"
"""Vectors of the rows a model was trained on; no part of serving, see `inference.neighbours`."""
MAX_SIZES = 64
MAX_MANIFEST = 8 * 1024 * 1024
MAX_FILE = 8 * 1024**3
MAX_TARGETS = 4096  # module paths, where the base is not our own BERT


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the folder."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE)]


class LoraSpec(msgspec.Struct, frozen=True):
    """Low-rank adapter: the update of a linear layer is `alpha / rank * B @ A`."""

    rank: Annotated[int, msgspec.Meta(ge=1, le=256)]
    alpha: Annotated[float, msgspec.Meta(gt=0, le=4096)]
    targets: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_TARGETS)]


Task = Literal[
    "text-classification", "multi-label-classification", "regression", "embeddings", "token-classification",
    "question-answering", "rerank",
]  # fmt: skip


class Manifest(msgspec.Struct, frozen=True):
    """`artefact.json`. Unknown keys are left alone, so that training may add notes of its own.

    `labels` are what the numbers of an answer stand for: one of the labels, each by itself, or the quantities of a
    regression. A model for embeddings has none, and no head; one that answers questions has `ENDS`; one that ranks has
    one. `pooling`: the mean of a text's tokens, or its first. `dimensions`: the only sizes to which a vector may be
    cut; any where there are none. `dense`: a layer of the same width before the labels,
    with that activation.
    """

    format: Literal[1]
    task: Task
    base: str
    method: Literal["full", "lora", "head"]
    labels: Annotated[list[str], msgspec.Meta(max_length=MAX_LABELS)]
    max_length: Annotated[int, msgspec.Meta(ge=2, le=8192)]
    pooling: Literal["mean", "cls"]
    temperature: Annotated[float, msgspec.Meta(ge=0.01, le=100)]
    files: dict[str, FileEntry]
    lora: LoraSpec | None = None
    dense: Literal["", "tanh"] = ""
    dimensions: Annotated[list[Annotated[int, msgspec.Meta(ge=1)]], msgspec.Meta(max_length=MAX_SIZES)] = []


class Heading(msgspec.Struct, frozen=True):
    """The part of `artefact.json` that says which reader takes it."""

    task: str


class WritingManifest(msgspec.Struct, frozen=True):
    """`artefact.json` of a model that writes: an adapter on a causal base, without a head."""

    format: Literal[1]
    task: Literal["text-generation"]
    base: str
    method: Literal["lora"]
    max_length: Annotated[int, msgspec.Meta(ge=2, le=2**20)]
    files: dict[str, FileEntry]
    lora: LoraSpec


class Text(msgspec.Struct, frozen=True):
    """A recorded text: its tokens, and the log-probabilities of those from `start` on, each given all before it."""

    tokens: Annotated[list[int], msgspec.Meta(min_length=2, max_length=4096)]
    start: Annotated[int, msgspec.Meta(ge=1)]
    logprobs: list[float]


class RecordedTexts(msgspec.Struct, frozen=True):
    """`parity.json` of a model that writes."""

    sequences: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class WritingArtefact:
    """A validated artefact of a model that writes."""

    manifest: WritingManifest
    adapter: dict[str, Array]
    recorded: RecordedTexts | None


@dataclass(frozen=True, slots=True)
class Artefact:
    """A validated artefact. `head` is None for embeddings; `adapter` and `encoder` where the method brings none."""

    manifest: Manifest
    head: tuple[Array, Array] | None  # weight [labels, hidden] and bias [labels]
    dense: tuple[Array, Array] | None  # weight [hidden, hidden] and bias [hidden]
    adapter: dict[str, Array] | None
    encoder: dict[str, Array] | None
    recorded: AnyRecorded | None


def read_task(folder: Path, sha256: str) -> str:
    """Which kind of model a folder holds. Raises `BadArtefact`."""
    return _decode(_vouched(folder, sha256), Heading, MANIFEST).task


def read_manifest(folder: Path, sha256: str) -> Manifest:
    """Read and check `artefact.json` alone. Raises `BadArtefact`."""
    manifest = _decode(_vouched(folder, sha256), Manifest, MANIFEST)
    if len(set(manifest.labels)) != len(manifest.labels) or not all(manifest.labels):
        raise BadArtefact(f"The labels in {MANIFEST} must be different from each other and not empty.")
    fewest, most = LABELS[manifest.task]
    if not fewest <= len(manifest.labels) <= most:
        raise BadArtefact(f"{MANIFEST} holds {len(manifest.labels)} labels, which does not fit {manifest.task!r}.")
    if manifest.task == ANSWERS and manifest.labels != ENDS:
        raise BadArtefact(f"The labels in {MANIFEST} must be {ENDS} where questions are answered.")
    if manifest.dense and manifest.task not in DENSE:
        raise BadArtefact(f"{MANIFEST} describes a layer before the labels, which {manifest.task!r} does not have.")
    if manifest.task == EMBEDDINGS and manifest.method == "head":
        raise BadArtefact(f"{MANIFEST} describes an embedding model with a head alone, which would be its base.")
    if manifest.dimensions and manifest.task != EMBEDDINGS:
        raise BadArtefact(f"{MANIFEST} lists sizes of vectors, which {manifest.task!r} does not answer with.")
    if not math.isfinite(manifest.temperature):
        raise BadArtefact(f"The temperature in {MANIFEST} is not a finite number.")
    if (manifest.lora is not None) != (manifest.method == "lora"):
        raise BadArtefact(f"{MANIFEST} must describe `lora` exactly when the method is lora.")
    return manifest


def read_artefact(folder: Path, sha256: str, geometry: Sizes) -> Artefact:
    """Read everything that serving needs. Raises `BadArtefact` with the file and the reason."""
    manifest = read_manifest(folder, sha256)
    head = dense = adapter = encoder = None
    if max(manifest.dimensions, default=0) > geometry.hidden:
        raise BadArtefact(f"{MANIFEST} lists a vector of {max(manifest.dimensions)}; the base has {geometry.hidden}.")
    if labels := len(manifest.labels):
        wide = geometry.hidden
        name, shapes = "head.safetensors", {"weight": (labels, wide), "bias": (labels,)}
        if manifest.dense:
            shapes |= {"dense.weight": (wide, wide), "dense.bias": (wide,)}
        tensors = read_tensors(listed(folder, manifest, name), name, shapes)
        head = tensors["weight"], tensors["bias"]
        dense = (tensors["dense.weight"], tensors["dense.bias"]) if manifest.dense else None
    if manifest.lora is not None:
        name = "adapter.safetensors"
        _check_targets(manifest.lora.targets, geometry)
        shapes = adapter_shapes(geometry, manifest.lora.targets, manifest.lora.rank)
        adapter = read_tensors(listed(folder, manifest, name), name, shapes)
    if manifest.method == "full":
        name = "encoder.safetensors"
        tensors = read_tensors(listed(folder, manifest, name), name, skip_buffers=True)
        encoder = encoder_weights(tensors, geometry, name)
    return Artefact(manifest, head, dense, adapter, encoder, _recorded(folder, manifest, labels or geometry.hidden))


def read_writing_manifest(folder: Path, sha256: str) -> WritingManifest:
    """As `read_manifest`, of a model that writes."""
    return _decode(_vouched(folder, sha256), WritingManifest, MANIFEST)


def read_writing_artefact(folder: Path, sha256: str, geometry: Sizes) -> WritingArtefact:
    """Everything that serving needs of a model that writes. Raises `BadArtefact` with the file and the reason."""
    manifest, name = read_writing_manifest(folder, sha256), "adapter.safetensors"
    _check_targets(manifest.lora.targets, geometry)
    shapes = adapter_shapes(geometry, manifest.lora.targets, manifest.lora.rank)
    adapter = read_tensors(listed(folder, manifest, name), name, shapes)
    recorded = None
    if "parity.json" in manifest.files:
        recorded = _decode(listed(folder, manifest, "parity.json"), RecordedTexts, "parity.json")
        for text in recorded.sequences:
            if len(text.logprobs) != len(text.tokens) - text.start or not np.isfinite(text.logprobs).all():
                raise BadArtefact("parity.json must hold one finite log-probability for each token from `start` on.")
    return WritingArtefact(manifest, adapter, recorded)


def _vouched(folder: Path, sha256: str) -> bytes:
    """`artefact.json`, as it was registered."""
    data = _read_file(folder, MANIFEST, MAX_MANIFEST)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BadArtefact(f"{MANIFEST} is not the file that was registered: its sha256 differs.")
    return data


def _check_targets(targets: list[str], geometry: Sizes) -> None:
    known = geometry.targets
    unknown = sorted(set(targets) - set(known))
    if unknown or len(set(targets)) != len(targets):
        raise BadArtefact(
            f"The adapter's targets must be different names from {list(known[:12])}; found {unknown[:12]}."
        )


def encoder_weights(tensors: dict[str, Array], geometry: Sizes, name: str) -> dict[str, Array]:
    """The weights that serving uses, from a state dict; that of a BERT may carry the `bert.` prefix."""
    bare = {key.removeprefix("bert."): value for key, value in tensors.items()} | tensors
    chosen = {}
    for key, shape in geometry.shapes().items():
        if key not in bare or bare[key].shape != shape:
            found = bare[key].shape if key in bare else "nothing"
            raise BadArtefact(f"{name} must hold {key!r} with shape {shape}; found {found}.")
        chosen[key] = bare[key]
    return chosen


def read_base(folder: Path) -> tuple[dict[str, Array], Geometry]:
    """The weights and sizes of a BERT base. Raises `BadArtefact`."""
    geometry, path = Geometry.read(folder / "config.json"), folder / "model.safetensors"
    tensors = read_tensors(path.read_bytes(), path.name, skip_buffers=True)
    return encoder_weights(tensors, geometry, path.name), geometry


def _recorded(folder: Path, manifest: Manifest, width: int) -> AnyRecorded | None:
    name = "parity.json"
    if name not in manifest.files:
        return None
    return read_recorded(listed(folder, manifest, name), manifest.task, width, name)


def listed(folder: Path, manifest: Manifest | WritingManifest, name: str) -> bytes:
    """The bytes of a file that the manifest names, after comparing size and hash."""
    entry = manifest.files.get(name)
    if entry is None:
        raise BadArtefact(f"{MANIFEST} does not list {name}, which method {manifest.method!r} needs.")
    data = _read_file(folder, name, entry.bytes)
    if len(data) != entry.bytes:
        raise BadArtefact(f"{name} has {len(data)} bytes; {MANIFEST} says {entry.bytes}.")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BadArtefact(f"{name} is damaged: its sha256 is not the one in {MANIFEST}.")
    return data


def _read_file(folder: Path, name: str, limit: int) -> bytes:
    """The bytes of a regular file, at most `limit` of them; a longer file or a link is refused."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadArtefact(f"{name} cannot be opened in the artefact folder: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise BadArtefact(f"{name} in the artefact folder is not a regular file.")
        if facts.st_size > limit:
            raise BadArtefact(f"{name} has {facts.st_size} bytes; at most {limit} were expected.")
        return file.read(limit + 1)


def _decode(data: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadArtefact(f"{name} is not as the format asks: {error}") from error
