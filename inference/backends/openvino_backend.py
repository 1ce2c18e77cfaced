"""BERT on OpenVINO, built node by node from the weights: no torch, no ONNX file, ready in half a second.

Up to four compiled graphs stand for one base: the plain one, and one whose linear layers also take the stacked low-rank
terms of `inference.adapters` as inputs; and each again with every token's vector as its result, for pairs and token
heads. All but the first are compiled when something asks for them. Where a lane has one thread, a base has them once
for each lane: a graph for one stream and one thread is computed in the thread that asks, while streams of one graph are
threads of the library's own, which wait for a core once more at every batch and know nothing of lanes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from inference import backends
from inference.adapters import Plan, Stack
from inference.encoder import Backend, Encoder, Ids, mean
from inference.geometry import TARGETS, Geometry
from inference.tensors import Array

Node = Any  # openvino's node types carry no useful annotations
KEPT_SHAPES = 256
"""Shapes of batches that a compiled graph meets. The library keeps most of a megabyte of each for good, and none of its
settings bounds that: texts of all lengths would fill the memory. A graph that is compiled anew begins without."""
MASKED = np.float32(-1e4)  # added to the score of padding; far below any real score, and exact enough in bf16


def create(*, device: str, precision: str, threads: int) -> Backend:
    """The backend for this machine's CPU; "auto" precision takes bf16 where the CPU computes it."""
    if device not in ("auto", "cpu"):
        raise ValueError(f"The OpenVINO backend computes on the CPU; device {device!r} needs the torch backend.")
    return OpenVinoBackend(precision, threads)


class OpenVinoBackend:
    """Compiles encoders for the CPU plugin."""

    name = "openvino"

    def __init__(self, precision: str, threads: int) -> None:
        self._core = ov.Core()
        if precision == "auto":
            able = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bf16" if able else "fp32"
        if precision not in ("bf16", "fp32"):
            raise ValueError(f"Unknown precision {precision!r}: write auto, bf16 or fp32.")
        self.precision = precision
        threads = threads or backends.cores()
        self.lanes = backends.lanes(threads)
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": str(self.lanes),
            "INFERENCE_NUM_THREADS": str(threads),
            "ENABLE_CPU_PINNING": "NO",  # a stranger on one core must not hold up the lane that is pinned to it
        }
        self.apart = threads == self.lanes

    def encoder(
        self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool, tokens: bool = False
    ) -> Encoder:
        """See `inference.encoder.Backend`."""
        return OpenVinoEncoder(self, weights, geometry, adapters=adapters, tokens=tokens)

    def compile(self, model: ov.Model, *, apart: bool) -> Any:
        """The model for this CPU, for one lane if it is to stand `apart`; each thread makes an infer request."""
        lane = {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"} if apart else {}
        return self._core.compile_model(model, "CPU", self._options | lane)


class _Compiled:
    """A graph in the library's memory, made anew when it has met too many shapes. Thread-safe."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._now = make, make()
        self._shapes: set[tuple[int, ...]] = set()
        self._meeting = threading.Lock()

    def meet(self, shape: tuple[int, ...]) -> Any:
        """The graph to compute a batch of that shape with."""
        with self._meeting:
            if shape not in self._shapes and len(self._shapes) >= KEPT_SHAPES:
                self._shapes.clear()
                self._now = self._make()
            self._shapes.add(shape)
            return self._now


class _Requests(threading.local):
    """What one thread computes with: its graphs, its infer request of each, and the stack that is bound to it."""

    def __init__(self) -> None:
        self.graphs: dict[tuple[bool, bool], _Compiled] = {}
        self.made: dict[tuple[bool, bool], tuple[Any, Any]] = {}
        self.bound: dict[tuple[bool, bool], Stack] = {}


class OpenVinoEncoder:
    """One set of weights. Keeps them in float32 only if another graph may still be needed."""

    def __init__(
        self, backend: OpenVinoBackend, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool,
        tokens: bool,
    ) -> None:  # fmt: skip
        self.geometry, self.precision = geometry, backend.precision
        self.bytes = sum(array.nbytes for array in weights.values())
        self._backend = backend
        self._weights = weights if adapters else None
        self._first = tokens and not adapters  # whether the one graph gives tokens
        self._apart = backend.apart and adapters  # a tenant's own weights are not worth a second copy
        model = _build(weights, geometry, tokens=self._first)
        copies = backend.lanes if self._apart else 1
        self._graphs = {(False, self._first): [self._compiled(model) for _ in range(copies)]}
        self._compiling = threading.Lock()
        self._requests = _Requests()

    def encode(self, ids: Ids, mask: Array, plan: Plan | None, weight: Array | None = None) -> Array:
        """See `inference.encoder.Encoder`."""
        weight = mask if weight is None else weight
        if self._first:
            return mean(self.states(ids, mask, plan), weight)
        return self._compute({"ids": ids, "mask": mask, "weight": weight}, plan, tokens=False)

    def states(self, ids: Ids, mask: Array, plan: Plan | None, types: Ids | None = None) -> Array:
        """See `inference.encoder.Encoder`."""
        types = np.zeros_like(ids) if types is None else types
        return self._compute({"ids": ids, "mask": mask, "types": types}, plan, tokens=True)

    def _compute(self, inputs: dict[str, Any], plan: Plan | None, *, tokens: bool) -> Array:
        mine, key = self._requests, (plan is not None, tokens)
        if key not in mine.graphs:
            mine.graphs[key] = self._graph(key)
        graph = mine.graphs[key].meet((*inputs["ids"].shape, plan.stack.width if plan is not None else 0))
        known, request = mine.made.get(key, (None, None))
        if known is not graph:
            request = graph.create_infer_request()
            mine.made[key] = graph, request
            mine.bound.pop(key, None)
        if plan is not None:
            inputs["ranks"] = plan.mask
            if mine.bound.get(key) is not plan.stack:
                self._bind(request, plan.stack)
                mine.bound[key] = plan.stack
        request.infer(inputs, share_inputs=True)
        result: Array = request.get_output_tensor(0).data.copy()
        return result

    def _compiled(self, model: ov.Model) -> _Compiled:
        return _Compiled(lambda: self._backend.compile(model, apart=self._apart))

    def _graph(self, key: tuple[bool, bool]) -> _Compiled:
        """The graph for one more thread: one that nobody has yet, where they stand apart."""
        with self._compiling:
            graphs = self._graphs.setdefault(key, [])
            if not graphs:
                assert self._weights is not None, "this encoder was made for one way of computing"
                adapters, tokens = key
                model = _build(self._weights, self.geometry, adapters=adapters, tokens=tokens)
                graphs.append(self._compiled(model))
            return graphs.pop() if self._apart else graphs[0]

    @staticmethod
    def _bind(request: Any, stack: Stack) -> None:
        """Point the graph's adapter inputs at this stack; they stay until another one is bound."""
        for (layer, target), down in stack.down.items():
            request.set_tensor(_name(layer, target, "A"), ov.Tensor(down, shared_memory=True))
            up = stack.up[layer, target]
            request.set_tensor(_name(layer, target, "B"), ov.Tensor(up, shared_memory=True))


def _name(layer: int, target: str, side: str) -> str:
    return f"layers.{layer}.{target}.{side}"


def _build(
    weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool = False, tokens: bool = False
) -> ov.Model:
    """The graph: ids, mask and weight [B, T] in, the weighted mean over each row's tokens [B, H] out. With `tokens`,
    their types [B, T] in place of the weight, and all vectors [B, T, H] out."""
    graph = _Graph(weights, geometry, adapters=adapters)
    ids, mask = _input("ids", ov.Type.i32), _input("mask", ov.Type.f32)
    third = _input("types", ov.Type.i32) if tokens else _input("weight", ov.Type.f32)
    hidden = graph.embed(ids, third if tokens else None)
    bias = op.unsqueeze(op.multiply(op.subtract(op.constant(np.float32(1)), mask), op.constant(MASKED)), _ints([1, 2]))
    for layer in range(geometry.layers):
        hidden = graph.layer(hidden, bias, layer)
    if tokens:
        return ov.Model([op.result(hidden)], [ids, mask, third, *graph.inputs], "encoder")
    counts = op.unsqueeze(third, _ints([2]))
    total = op.reduce_sum(op.multiply(hidden, counts), _ints([1]), False)
    pooled = op.divide(total, op.reduce_sum(counts, _ints([1]), False))
    return ov.Model([op.result(pooled)], [ids, mask, third, *graph.inputs], "encoder")


def _input(name: str, kind: Any) -> Node:
    """An input [B, T]."""
    node = op.parameter(ov.PartialShape([-1, -1]), kind, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


def _ints(values: list[int]) -> Node:
    return op.constant(np.array(values, np.int32))


class _Graph:
    """Builds the layers; `inputs` collects the adapter inputs in the order they were made."""

    def __init__(self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool) -> None:
        self._weights = weights
        self._geometry = geometry
        self._adapters = adapters
        self.inputs: list[Node] = []
        self._ranks = self._input("ranks", [-1, -1]) if adapters else None
        self._row_ranks = op.unsqueeze(self._ranks, _ints([1])) if adapters else None  # [B, 1, R]

    def embed(self, ids: Node, types: Node | None) -> Node:
        """[B, T] -> [B, T, H]. Without types every token is of type zero: that row is added to the positions before."""
        weights, first = self._weights, op.constant(np.int32(0))
        words = op.gather(self._constant("embeddings.word_embeddings.weight"), ids, first)
        table = weights["embeddings.position_embeddings.weight"]
        if types is None:
            table = table + weights["embeddings.token_type_embeddings.weight"][0]
        length = op.gather(op.shape_of(ids, "i32"), _ints([1]), first)
        positions = op.slice(op.constant(np.ascontiguousarray(table)), _ints([0]), length, _ints([1]), _ints([0]))
        embedded = op.add(words, positions)
        if types is not None:
            kinds = op.gather(self._constant("embeddings.token_type_embeddings.weight"), types, first)
            embedded = op.add(embedded, kinds)
        return self._norm(embedded, "embeddings.LayerNorm")

    def layer(self, x: Node, bias: Node, i: int) -> Node:
        """One transformer layer, [B, T, H] -> [B, T, H]; `bias` [B, 1, 1, T] hides the padding."""
        geometry, prefix = self._geometry, f"encoder.layer.{i}"
        query, key, value = (self._heads(self._linear(x, i, target)) for target in TARGETS[:3])
        context = op.scaled_dot_product_attention(query, key, value, bias)
        context = op.reshape(op.transpose(context, _ints([0, 2, 1, 3])), _ints([0, 0, geometry.hidden]), True)
        attended = op.add(self._linear(context, i, "attention_output"), x)
        x = self._norm(attended, f"{prefix}.attention.output.LayerNorm")
        inner = op.gelu(self._linear(x, i, "intermediate"), "erf")
        return self._norm(op.add(self._linear(inner, i, "output"), x), f"{prefix}.output.LayerNorm")

    def _heads(self, x: Node) -> Node:
        """[B, T, H] -> [B, heads, T, H / heads]."""
        geometry = self._geometry
        split = op.reshape(x, _ints([0, 0, geometry.heads, geometry.hidden // geometry.heads]), True)
        return op.transpose(split, _ints([0, 2, 1, 3]))

    def _linear(self, x: Node, layer: int, target: str) -> Node:
        name = self._geometry.linear(layer, target)
        y = op.add(op.matmul(x, self._constant(f"{name}.weight"), False, True), self._constant(f"{name}.bias"))
        if not self._adapters:
            return y
        inside, outside = self._geometry.width(target)
        down = self._input(_name(layer, target, "A"), [-1, inside])
        up = self._input(_name(layer, target, "B"), [outside, -1])
        return op.add(y, op.matmul(op.multiply(op.matmul(x, down, False, True), self._row_ranks), up, False, True))

    def _norm(self, x: Node, name: str) -> Node:
        centred = op.mvn(x, _ints([-1]), True, self._geometry.epsilon, "inside_sqrt")
        return op.add(op.multiply(centred, self._constant(f"{name}.weight")), self._constant(f"{name}.bias"))

    def _constant(self, name: str) -> Node:
        return op.constant(np.ascontiguousarray(self._weights[name]))

    def _input(self, name: str, shape: list[int]) -> Node:
        node = op.parameter(ov.PartialShape(shape), ov.Type.f32, name=name)
        node.output(0).get_tensor().set_names({name})
        self.inputs.append(node)
        return node
