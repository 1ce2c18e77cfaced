"""ONNX models written by hand: the few messages of the format that a graph needs, and a small builder.

A model is one protobuf message. Only three of protobuf's wire types are used here: varints, length-delimited bytes and
32-bit floats (https://protobuf.dev/programming-guides/encoding/); field numbers are those of onnx.proto3. So that
neither `onnx` nor a tracer is needed to give our weights to ONNX Runtime.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 20  # the first with Gelu
IR_VERSION = 9
FLOAT, INT32, INT64 = 1, 6, 7
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int32): INT32, np.dtype(np.int64): INT64}
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; negative numbers as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _whole(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _attribute(name: str, value: Any) -> bytes:
    body = _bytes(1, name)
    if isinstance(value, float):
        return body + _varint(2 << 3 | 5) + struct.pack("<f", value) + _whole(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return body + _whole(3, value) + _whole(20, _ATTRIBUTE_INT)
    if isinstance(value, str):
        return body + _bytes(4, value) + _whole(20, _ATTRIBUTE_STRING)
    return body + b"".join(_whole(8, one) for one in value) + _whole(20, _ATTRIBUTE_INTS)


class Graph:
    """Nodes, constants and inputs in the order they were made. Values are named by strings."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: dict[str, bytes] = {}
        self._inputs: list[bytes] = []

    def input(self, name: str, kind: int, shape: Sequence[str | int]) -> str:
        """A value given at each run; a dimension is a number or a name for one that varies."""
        self._inputs.append(_value(name, kind, shape))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """A weight. The same name is written once."""
        if name not in self._constants:
            dims = b"".join(_whole(1, size) for size in array.shape)
            kind = _whole(2, _TYPES[array.dtype])
            self._constants[name] = dims + kind + _bytes(8, name) + _bytes(9, np.ascontiguousarray(array).tobytes())
        return name

    def ints(self, *values: int) -> str:
        """A small list of whole numbers, for shapes and axes."""
        return self.constant("ints:" + ",".join(map(str, values)), np.array(values, np.int64))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """An operation with one output, whose name is returned."""
        name = f"{kind}:{len(self._nodes)}"
        body = b"".join(_bytes(1, one) for one in inputs) + _bytes(2, name) + _bytes(3, name) + _bytes(4, kind)
        self._nodes.append(body + b"".join(_bytes(5, _attribute(*one)) for one in attributes.items()))
        return name

    def model(self, output: str, shape: Sequence[str | int]) -> bytes:
        """The finished model, with one float output."""
        graph = [_bytes(1, node) for node in self._nodes]
        graph.append(_bytes(2, "encoder"))
        graph += [_bytes(5, constant) for constant in self._constants.values()]
        graph += [_bytes(11, one) for one in self._inputs]
        graph.append(_bytes(12, _value(output, FLOAT, shape)))
        opset = _bytes(1, "") + _whole(2, OPSET)
        return _whole(1, IR_VERSION) + _bytes(2, "tunesmith") + _bytes(7, b"".join(graph)) + _bytes(8, opset)


def _value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    dims = [_whole(1, one) if isinstance(one, int) else _bytes(2, one) for one in shape]
    tensor = _whole(1, kind) + _bytes(2, b"".join(_bytes(1, dim) for dim in dims))
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))
