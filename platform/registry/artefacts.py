"""What an artefact folder must look like before the registry takes it. No Django.

The folder comes from a trainer that read a stranger's data, so nothing in it is believed: only the names below, only
regular files, every size and hash as `artefact.json` says, JSON that is JSON, and safetensors whose header describes
exactly the bytes that follow. Tensors themselves are not loaded here; the engine checks their shapes.
"""

import hashlib
import os
import re
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from inference.tasks import LABELS, TEXT_GENERATION
from kit import strict_json, untrusted
from kit.errors import BadRequest

MANIFEST = "artefact.json"
MAX_FILES = 32
UNLABELLED = (TEXT_GENERATION,)
"""Tasks whose models write text, and have no labels."""
MAX_JSON = 64 << 20
MAX_MANIFEST = 8 << 20
WORDS = {"task": 40, "base": 100, "method": 16}
"""What a manifest must say, in so many characters at most."""
MAX_PARTS = 2_000_000
MAX_HEADER, MAX_SIDES = 2 << 20, 8
"""Of a safetensors file: bytes of its header (a large model's has some ten thousand), and sides of a tensor."""
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,60}\.(json|jsonl|safetensors)")
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Refused(ValueError):
    """The folder is not a sound artefact; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A checked artefact: its manifest as written, the manifest's own hash, and every file with hash and size."""

    folder: Path
    manifest: dict[str, Any]
    manifest_sha256: str
    files: dict[str, dict[str, Any]]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())


def check(folder: Path) -> Sound:
    """Check a folder. Raises Refused."""
    raw = _bytes(folder / MANIFEST, MAX_MANIFEST)
    manifest = _json(raw, MANIFEST)
    _check_words(manifest)
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not 1 <= len(listed) <= MAX_FILES:
        raise Refused(f"{MANIFEST} lists no files, or more than {MAX_FILES}.")
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    if present != set(listed):
        odd = ", ".join(sorted(map(str, present ^ set(listed))))
        raise Refused(f"The folder and {MANIFEST} disagree about: {odd}.")
    files = {name: _file(folder, name, entry) for name, entry in sorted(listed.items())}
    digest = hashlib.sha256(raw).hexdigest()
    files[MANIFEST] = {"sha256": digest, "bytes": len(raw)}
    return Sound(folder=folder, manifest=manifest, manifest_sha256=digest, files=files)


def _check_words(manifest: dict[str, Any]) -> None:
    if manifest.get("format") != 1:
        raise Refused(f"{MANIFEST} has format {manifest.get('format')!r}; this version reads 1.")
    for name, most in WORDS.items():
        word = manifest.get(name)
        if not isinstance(word, str) or len(word) > most or not _WORD.fullmatch(word):
            raise Refused(f"{MANIFEST} does not say its {name}.")
    labels = manifest.get("labels")
    if manifest["task"] in UNLABELLED:
        if labels != []:
            raise Refused(f"A model for {manifest['task']} has no labels, but {MANIFEST} lists some.")
        return
    fewest, most = LABELS.get(manifest["task"], (1, 0))
    if not most and fewest:
        raise Refused(f"{MANIFEST} has the task {manifest['task']!r}; there are {', '.join((*LABELS, *UNLABELLED))}.")
    good = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)
    if not good or len(set(labels)) != len(labels) or not fewest <= len(labels) <= most:  # type: ignore[arg-type]
        raise Refused(f"The labels in {MANIFEST} must be {_number(fewest, most)} different texts.")


def _number(fewest: int, most: int) -> str:
    return f"{fewest:,} to {most:,}" if fewest != most else f"{most}"


def _file(folder: Path, name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(
            f"{str(name)[:80]!r} is not a name an artefact may hold; only .safetensors, .json and .jsonl are."
        )
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("bytes"), int)
        or not isinstance(entry.get("sha256"), str)
    ):
        raise Refused(f"{MANIFEST} gives no size and hash for {name}.")
    path = folder / name
    if _size_and_sha256(path) != (entry["bytes"], entry["sha256"]):
        raise Refused(f"{name} is damaged: its size or hash is not the one in {MANIFEST}.")
    if name.endswith(".safetensors"):
        check_safetensors(path)
    elif name.endswith(".json"):
        _json(_bytes(path, MAX_JSON), name)
    return {"sha256": entry["sha256"], "bytes": entry["bytes"]}


def check_safetensors(path: Path) -> None:
    """The header describes the bytes exactly: no gap, no overlap, no type that needs code to read. Raises Refused."""
    with _opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise Refused(f"{path.name}: the header's length is impossible.")
        header = _json(stream.read(length), path.name)
    header.pop("__metadata__", None)
    spans = sorted(_span(path.name, name, tensor) for name, tensor in header.items())
    end = 0
    for low, high in spans:
        if low != end:
            raise Refused(f"{path.name}: tensors overlap or leave a gap.")
        end = high
    if end != size - 8 - length:
        raise Refused(f"{path.name}: the header does not describe all of the file.")


def _span(file: str, name: str, tensor: Any) -> tuple[int, int]:
    try:
        width, shape, (low, high) = _BYTES[tensor["dtype"]], tensor["shape"], tensor["data_offsets"]
        count = 1
        if not isinstance(shape, list) or len(shape) > MAX_SIDES:
            raise ValueError("a shape")
        for side in shape:
            if not isinstance(side, int) or isinstance(side, bool) or not 0 <= side < 1 << 40:
                raise ValueError("a shape")
            count *= side
        if not isinstance(low, int) or not isinstance(high, int) or low < 0 or high - low != count * width:
            raise ValueError("its size")
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"{file}: tensor {name[:80]!r} is not described correctly ({error}).") from error
    return low, high


def _json(raw: bytes, name: str) -> dict[str, Any]:
    if raw.count(b"[") + raw.count(b"{") > MAX_PARTS:  # each would take many times its two bytes
        raise Refused(f"{name} has more than {MAX_PARTS:,} lists and objects.")
    try:
        value = strict_json.loads(raw, most=len(raw))
    except BadRequest as error:
        raise Refused(f"{name} is not valid JSON: {error.message}") from error
    if not isinstance(value, dict):
        raise Refused(f"{name} must be one JSON object.")
    return value


def _bytes(path: Path, limit: int) -> bytes:
    with _opened(path) as stream:
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise Refused(f"{path.name} is larger than {limit:,} bytes.")
    return raw


def _size_and_sha256(path: Path) -> tuple[int, str]:
    with _opened(path) as stream:
        return os.fstat(stream.fileno()).st_size, hashlib.file_digest(stream, "sha256").hexdigest()


def _opened(path: Path) -> BufferedReader:
    try:
        return untrusted.file_open(path)
    except (untrusted.Refused, FileNotFoundError) as error:
        raise Refused(f"{path.name} is missing or not a regular file.") from error
