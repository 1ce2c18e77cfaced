"""BERT on ONNX Runtime, from a model written by hand out of the weights (`inference.backends.onnx`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from inference import backends
from inference.adapters import Plan
from inference.backends import onnx
from inference.encoder import Backend, Encoder, Ids, mean
from inference.geometry import TARGETS, Geometry
from inference.tensors import Array

MASKED = -1e4  # added to the score of padding; far below any real score
MOST_BYTES = 1_900_000_000  # of weights; a protobuf message ends at two gigabytes


def create(*, device: str, precision: str, threads: int) -> Backend:
    """The backend for this machine's CPU, in fp32: its kernels for bf16 do not cover a BERT on a CPU."""
    if device not in ("auto", "cpu"):
        raise ValueError(f"The ONNX Runtime backend computes on the CPU; device {device!r} needs the torch backend.")
    if precision not in ("auto", "fp32"):
        raise ValueError(f"Unknown precision {precision!r}: the ONNX Runtime backend computes in fp32.")
    return OnnxRuntimeBackend(threads)


class OnnxRuntimeBackend:
    """Makes sessions on the CPU."""

    name = "onnxruntime"
    precision = "fp32"

    def __init__(self, threads: int) -> None:
        threads = threads or backends.cores()
        self.lanes = backends.lanes(threads)
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = max(threads // self.lanes, 1)
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a stranger's core is no place

    def encoder(
        self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool, tokens: bool = False
    ) -> Encoder:
        """See `inference.encoder.Backend`."""
        return OnnxRuntimeEncoder(self, weights, geometry, adapters=adapters, tokens=tokens)

    def session(self, model: bytes) -> Any:
        """The model, ready to run. Raises `ValueError` for one that the format cannot hold."""
        if len(model) > MOST_BYTES:
            raise ValueError(f"A model of {len(model)} bytes is more than one ONNX message holds.")
        return onnxruntime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])


class OnnxRuntimeEncoder:
    """One set of weights. Keeps them only if another graph may still be needed."""

    def __init__(
        self, backend: OnnxRuntimeBackend, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool,
        tokens: bool,
    ) -> None:  # fmt: skip
        self.geometry, self.precision = geometry, backend.precision
        self.bytes = sum(array.nbytes for array in weights.values())
        self._backend = backend
        self._weights = weights if adapters else None
        self._first = tokens and not adapters  # whether the one session gives tokens
        self._sessions = {(False, self._first): backend.session(_build(weights, geometry, tokens=self._first))}
        self._preparing = threading.Lock()

    def encode(self, ids: Ids, mask: Array, plan: Plan | None, weight: Array | None = None) -> Array:
        """See `inference.encoder.Encoder`. A session may be run by several threads at once."""
        weight = mask if weight is None else weight
        if self._first:
            return mean(self.states(ids, mask, plan), weight)
        return self._compute({"ids": ids, "mask": mask, "weight": weight}, plan, tokens=False)

    def states(self, ids: Ids, mask: Array, plan: Plan | None, types: Ids | None = None) -> Array:
        """See `inference.encoder.Encoder`."""
        types = np.zeros_like(ids) if types is None else types
        return self._compute({"ids": ids, "mask": mask, "types": types}, plan, tokens=True)

    def _compute(self, inputs: dict[str, Any], plan: Plan | None, *, tokens: bool) -> Array:
        if plan is not None:
            inputs["ranks"] = plan.mask
            for (layer, target), down in plan.stack.down.items():
                inputs[_name(layer, target, "A")] = down
                inputs[_name(layer, target, "B")] = plan.stack.up[layer, target]
        result: Array = self._session((plan is not None, tokens)).run(None, inputs)[0]
        return result

    def _session(self, key: tuple[bool, bool]) -> Any:
        with self._preparing:
            if key not in self._sessions:
                assert self._weights is not None, "this encoder was made for one way of computing"
                adapters, tokens = key
                model = _build(self._weights, self.geometry, adapters=adapters, tokens=tokens)
                self._sessions[key] = self._backend.session(model)
            return self._sessions[key]


def _name(layer: int, target: str, side: str) -> str:
    return f"layers.{layer}.{target}.{side}"


def _build(weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool = False, tokens: bool = False) -> bytes:
    """The model: ids, mask and weight [B, T] in, the weighted mean over each row's tokens [B, H] out. With `tokens`,
    their types [B, T] in place of the weight, and all vectors [B, T, H] out."""
    graph = _Bert(weights, geometry, adapters=adapters)
    node, ints = graph.node, graph.ints
    ids, mask = graph.input("ids", onnx.INT32, ["B", "T"]), graph.input("mask", onnx.FLOAT, ["B", "T"])
    hidden = graph.embed(ids, graph.input("types", onnx.INT32, ["B", "T"]) if tokens else "")
    hidden_by = node("Mul", node("Sub", graph.number(1.0), mask), graph.number(MASKED))
    bias = node("Unsqueeze", hidden_by, ints(1, 2))
    for layer in range(geometry.layers):
        hidden = graph.layer(hidden, bias, layer)
    if tokens:
        return graph.model(hidden, ["B", "T", geometry.hidden])
    weight = node("Unsqueeze", graph.input("weight", onnx.FLOAT, ["B", "T"]), ints(2))
    total = node("ReduceSum", node("Mul", hidden, weight), ints(1), keepdims=0)
    pooled = node("Div", total, node("ReduceSum", weight, ints(1), keepdims=0))
    return graph.model(pooled, ["B", geometry.hidden])


class _Bert(onnx.Graph):
    """Builds the layers."""

    def __init__(self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool) -> None:
        super().__init__()
        self._weights, self._geometry = weights, geometry
        self._ranks = ""
        if adapters:
            self._ranks = self.node("Unsqueeze", self.input("ranks", onnx.FLOAT, ["B", "R"]), self.ints(1))

    def number(self, value: float) -> str:
        """A scalar."""
        return self.constant(f"number:{value}", np.array(value, np.float32))

    def embed(self, ids: str, types: str) -> str:
        """[B, T] -> [B, T, H]. Without types every token is of type zero: that row is added to the positions before."""
        weights = self._weights
        words = self.node("Gather", self._weight("embeddings.word_embeddings.weight"), ids)
        table = weights["embeddings.position_embeddings.weight"]
        if not types:
            table = table + weights["embeddings.token_type_embeddings.weight"][0]
        length = self.node("Slice", self.node("Shape", ids), self.ints(1), self.ints(2), self.ints(0))
        places = self.node("Slice", self.constant("places", table), self.ints(0), length, self.ints(0))
        embedded = self.node("Add", words, places)
        if types:
            kinds = self.node("Gather", self._weight("embeddings.token_type_embeddings.weight"), types)
            embedded = self.node("Add", embedded, kinds)
        return self._norm(embedded, "embeddings.LayerNorm")

    def layer(self, x: str, bias: str, i: int) -> str:
        """One transformer layer, [B, T, H] -> [B, T, H]; `bias` [B, 1, 1, T] hides the padding."""
        geometry, prefix, node = self._geometry, f"encoder.layer.{i}", self.node
        split = self.ints(0, 0, geometry.heads, geometry.hidden // geometry.heads)
        # [B, heads, T, H / heads]; the key is turned over
        turns = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        query, key, value = (
            node("Transpose", node("Reshape", self._linear(x, i, target), split), perm=turn)
            for target, turn in zip(TARGETS[:3], turns, strict=True)
        )
        scale = self.number((geometry.hidden // geometry.heads) ** -0.5)
        scores = node("Add", node("Mul", node("MatMul", query, key), scale), bias)
        context = node("MatMul", node("Softmax", scores, axis=-1), value)
        context = node("Reshape", node("Transpose", context, perm=[0, 2, 1, 3]), self.ints(0, 0, geometry.hidden))
        x = self._norm(
            node("Add", self._linear(context, i, "attention_output"), x), f"{prefix}.attention.output.LayerNorm"
        )
        inner = node("Gelu", self._linear(x, i, "intermediate"))
        return self._norm(node("Add", self._linear(inner, i, "output"), x), f"{prefix}.output.LayerNorm")

    def _linear(self, x: str, layer: int, target: str) -> str:
        name, node = self._geometry.linear(layer, target), self.node
        turned = self.constant(f"{name}.turned", self._weights[f"{name}.weight"].T)
        y = node("Add", node("MatMul", x, turned), self._weight(f"{name}.bias"))
        if not self._ranks:
            return y
        inside, outside = self._geometry.width(target)
        down = node("Transpose", self.input(_name(layer, target, "A"), onnx.FLOAT, ["R", inside]), perm=[1, 0])
        up = node("Transpose", self.input(_name(layer, target, "B"), onnx.FLOAT, [outside, "R"]), perm=[1, 0])
        return node("Add", y, node("MatMul", node("Mul", node("MatMul", x, down), self._ranks), up))

    def _norm(self, x: str, name: str) -> str:
        weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=float(self._geometry.epsilon))

    def _weight(self, name: str) -> str:
        return self.constant(name, self._weights[name])
