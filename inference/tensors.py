"""A strict reader of safetensors files: what is expected is read, anything else is refused.

The format is eight bytes of header length, a JSON header and raw numbers; nothing in it can run. The checks here are
stricter than the format: exactly the expected names and shapes, float types only, no gap, no overlap, finite values.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import BadArtefact

Array = NDArray[np.float32]
Shape = tuple[int, ...]

MAX_HEADER = 4 * 1024 * 1024
_FLOATS = ("F32", "F16", "BF16")
_BUFFERS = ("I64", "I32")
_NUMPY = {"F16": "<f2", "F32": "<f4", "I32": "<i4", "I64": "<i8"}
_WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}


def read_tensors(
    data: bytes, name: str, expected: Mapping[str, Shape] | None = None, *, skip_buffers: bool = False
) -> dict[str, Array]:
    """All tensors of a file as float32. `name` is for messages.

    With `expected`, the file must hold exactly those names with those shapes. With `skip_buffers`, whole numbers (such
    as position ids in a published base) are checked for their place in the file and left out. Raises `BadArtefact`.
    """
    header, start = _read_header(data, name)
    spans = {key: _read_span(entry, key, name) for key, entry in header.items() if key != "__metadata__"}
    if expected is not None:
        _compare(spans, expected, name)
    _check_layout(spans, len(data) - start, name)
    wanted = {key: span for key, span in spans.items() if not (skip_buffers and span.dtype in _BUFFERS)}
    return {key: _to_float32(data, start, span, key, name) for key, span in wanted.items()}


def read_arrays(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    """All tensors of a file in the types they have: F16, F32, I32 or I64. Raises `BadArtefact`."""
    header, start = _read_header(data, name)
    spans = {key: _read_span(entry, key, name) for key, entry in header.items() if key != "__metadata__"}
    _check_layout(spans, len(data) - start, name)
    found = {}
    for key, span in spans.items():
        if span.dtype not in _NUMPY:
            raise BadArtefact(f"Tensor {key!r} in {name} has type {span.dtype}; {', '.join(_NUMPY)} are accepted.")
        raw = memoryview(data)[start + span.begin : start + span.end]
        found[key] = np.frombuffer(raw, _NUMPY[span.dtype]).reshape(span.shape)
    return found


def _read_header(data: bytes, name: str) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise BadArtefact(f"{name} is too short to be a safetensors file.")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(MAX_HEADER, len(data) - 8):
        raise BadArtefact(f"{name} is not a safetensors file: it announces a header of {length} bytes.")
    try:
        header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadArtefact(f"The header of {name} is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise BadArtefact(f"The header of {name} is not a JSON object.")
    return header, 8 + length


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name appears twice")
    return result


class _Span:
    """Where one tensor lies, relative to the end of the header."""

    __slots__ = ("begin", "dtype", "end", "shape")

    def __init__(self, dtype: str, shape: Shape, begin: int, end: int) -> None:
        self.dtype, self.shape, self.begin, self.end = dtype, shape, begin, end


def _read_span(entry: Any, key: str, name: str) -> _Span:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise BadArtefact(f"Tensor {key!r} in {name} is not described as the format asks.") from error
    if dtype not in _WIDTH:
        raise BadArtefact(f"Tensor {key!r} in {name} has type {dtype!r}, which is not known here.")
    numbers = (*shape, begin, end)
    if any(type(n) is not int or n < 0 for n in numbers):
        raise BadArtefact(f"Tensor {key!r} in {name} has a shape or an offset that is not a whole number.")
    if end - begin != prod(shape) * _WIDTH[dtype]:
        raise BadArtefact(f"Tensor {key!r} in {name} takes {end - begin} bytes, which does not fit its shape {shape}.")
    return _Span(dtype, shape, begin, end)


def _compare(spans: Mapping[str, _Span], expected: Mapping[str, Shape], name: str) -> None:
    missing, extra = sorted(expected.keys() - spans.keys()), sorted(spans.keys() - expected.keys())
    if missing or extra:
        raise BadArtefact(f"{name} lacks the tensors {missing[:5]} and has the unknown tensors {extra[:5]}.")
    for key, shape in expected.items():
        if spans[key].shape != shape:
            raise BadArtefact(f"Tensor {key!r} in {name} has shape {spans[key].shape}; expected {shape}.")


def _check_layout(spans: Mapping[str, _Span], size: int, name: str) -> None:
    position = 0
    for span in sorted(spans.values(), key=lambda s: (s.begin, s.end)):
        if span.begin != position:
            raise BadArtefact(f"The tensors of {name} overlap or leave a gap at byte {position}.")
        position = span.end
    if position != size:
        raise BadArtefact(f"{name} holds {size} bytes of numbers, but its header describes {position}.")


def _to_float32(data: bytes, start: int, span: _Span, key: str, name: str) -> Array:
    if span.dtype not in _FLOATS:
        raise BadArtefact(f"Tensor {key!r} in {name} has type {span.dtype}; only {', '.join(_FLOATS)} are accepted.")
    raw = memoryview(data)[start + span.begin : start + span.end]
    if span.dtype == "BF16":
        values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, "<f4" if span.dtype == "F32" else "<f2").astype(np.float32)
    if not np.isfinite(values).all():
        raise BadArtefact(f"Tensor {key!r} in {name} holds values that are not finite numbers.")
    return values.reshape(span.shape)
