"""A model that was trained elsewhere as an artefact of ours: `python -m inference.importing SOURCE TARGET --base NAME`.

SOURCE is a folder as transformers saves a `BertForSequenceClassification`, `BertForTokenClassification` or
`BertForQuestionAnswering`: `config.json`, `model.safetensors`, `tokenizer.json`; or a `BertModel` for embeddings, with
what sentence-transformers says of it (`inference.sentences`). Its encoder must have the sizes of a base of this
installation and its tokenizer must make the same tokens, because texts are turned into tokens once, by the base.
Weights that are the base's own are left out (method `head`); else they come along whole (`full`).

What the plain forward of transformers answers in fp32 to a few texts is written to `parity.json`, so that nothing goes
live that serving does not reproduce. Only safetensors and JSON are read; a folder with a pickle or code is refused.
The last line of the output is JSON: the task, or what is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from inference import tasks
from inference.architecture import read_config
from inference.artefact import MANIFEST, encoder_weights, read_base
from inference.catalogue import Base, bases
from inference.errors import BadArtefact, EngineError
from inference.geometry import Geometry
from inference.sentences import POOLINGS, Sentences, matryoshka, read_sentences
from inference.tensors import Array, read_tensors

SEQUENCES = "BertForSequenceClassification"
VECTORS = "BertModel"
PARTS = {
    SEQUENCES: "classifier",
    "BertForTokenClassification": "classifier",
    "BertForQuestionAnswering": "qa_outputs",
    VECTORS: "",
}
"""The classes that are taken, and what their linear layer is called, if they have one."""
HEADS = {
    "BertForTokenClassification": (tasks.TOKENS,),
    "BertForQuestionAnswering": (tasks.ANSWERS,),
    VECTORS: (tasks.EMBEDDINGS,),
}
"""What a class is for, where it says so."""
MANY = (tasks.CLASSIFICATION, tasks.MULTI_LABEL, tasks.REGRESSION)
"""What a `BertForSequenceClassification` of several labels can be for."""
SAID = {
    "single_label_classification": tasks.CLASSIFICATION,
    "multi_label_classification": tasks.MULTI_LABEL,
    "regression": tasks.REGRESSION,
}
"""By the `problem_type` in config.json."""
UNSAFE = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack", ".py", ".so"}
)
SETTINGS = ("truncation", "padding", "version")
"""Parts of a tokenizer.json that do not change the tokens of a text."""
TEXTS = [
    "Angela Merkel met Emmanuel Macron in Paris on Monday.",
    "ok",
    "Where is my refund? I was promised it by Friday the 13th.",
    "The app crashes whenever I open it on my phone, and nobody answers at support@example.com.",
    "Das Paket aus Köln ist nicht angekommen.",
    "昨日の注文をキャンセルしたい",
]
PAIRS = [
    ("Where did they meet?", "Angela Merkel met Emmanuel Macron in Paris on Monday."),
    ("where is my refund", "Refunds are paid within five days after the parcel has come back."),
    ("How tall is the tower?", "Nobody knows."),
    ("opening hours", "We are open from nine to five, and closed on Sundays and public holidays."),
]


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that was read: its class, its settings and its numbers. `pooling` is that of a model for embeddings;
    `longest` in tokens, 0 where its tokenizer alone says it."""

    folder: Path
    kind: str
    config: dict[str, Any]
    tensors: dict[str, Array]
    pooling: str = "cls"
    longest: int = 0
    dimensions: list[int] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Its labels, in order."""
        found = self.config.get("id2label")
        head = self.tensors.get(f"{PARTS[self.kind]}.weight")
        count = 0 if head is None else head.shape[0]
        if not isinstance(found, dict):
            return [f"LABEL_{place}" for place in range(count)]
        return [str(found.get(str(place), f"LABEL_{place}")) for place in range(count)]


def read(folder: Path, pooling: str = "") -> Source:
    """Raises `BadArtefact` for anything that is not such a folder. `pooling` of a `BertModel` that does not say it."""
    _check_safe(folder)
    headed = (folder / "config.json").is_file() and _kind(read_config(folder)) not in (VECTORS, None)
    said = None if headed else read_sentences(folder)  # a cross-encoder may come with modules too; its head is its own
    if said is not None and said.encoder != folder:
        _check_safe(said.encoder)
        folder = said.encoder
    missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        raise BadArtefact(f"The folder lacks {', '.join(missing)}.")
    config = read_config(folder)
    kind = _kind(config)
    if kind is None or kind not in PARTS:
        raise BadArtefact(f"The folder holds a {kind!r}; what can be taken: {', '.join(PARTS)}.")
    tensors = read_tensors((folder / "model.safetensors").read_bytes(), "model.safetensors", skip_buffers=True)
    if kind != VECTORS:
        if pooling:
            raise BadArtefact(f"A {kind} is not for embeddings: leave --pooling out.")
        return Source(folder, kind, config, tensors)
    said = said or Sentences(folder)
    if not (said.pooling or pooling):
        raise BadArtefact(
            f"A {kind} does not say how its tokens become one vector. Name it with --pooling {' or '.join(POOLINGS)}."
        )
    if said.pooling and pooling not in ("", said.pooling):
        raise BadArtefact(f"The folder's pooling is {said.pooling!r}, not {pooling!r}.")
    sizes = matryoshka(config, Geometry.read(folder / "config.json").hidden)
    return Source(folder, kind, config, tensors, said.pooling or pooling, said.longest, sizes)


def _kind(config: dict[str, Any]) -> str | None:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else None


def _check_safe(folder: Path) -> None:
    if not folder.is_dir():
        raise BadArtefact(f"{folder} is not a folder.")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in UNSAFE:
            raise BadArtefact(
                f"{path.name} can run code when it is read. Remove it: only safetensors and JSON are taken."
            )
        if path.is_symlink():
            raise BadArtefact(f"{path.name} is a link. Copy the file itself into the folder.")


def task_of(source: Source, wanted: str = "") -> str:
    """What the head is for. Raises `BadArtefact` where it does not say so, or says otherwise."""
    one = len(source.names) == 1
    possible = HEADS.get(source.kind) or ((tasks.RERANK, tasks.REGRESSION, tasks.MULTI_LABEL) if one else MANY)
    if wanted:
        if wanted not in possible:
            raise BadArtefact(
                f"A {source.kind} with {len(source.names)} labels is for {' or '.join(possible)}, not {wanted}."
            )
        return wanted
    said = SAID.get(str(source.config.get("problem_type")))
    if said is not None and said in possible:
        return said
    if source.kind == SEQUENCES and one:
        raise BadArtefact(f"A head with one label can be for {', '.join(possible)}. Name one with --task.")
    return possible[0]


def convert(source: Source, target: Path, base: Base, task: str, max_length: int = 0) -> None:
    """Write the artefact. Raises `BadArtefact` where the source does not fit the base."""
    weights, geometry = read_base(base.folder)
    _check_fits(source, base, geometry)
    target.mkdir(parents=True, exist_ok=True)
    encoder = encoder_weights(source.tensors, geometry, "model.safetensors")
    own = any(not np.array_equal(encoder[name], weights[name]) for name in encoder)
    vectors = source.kind == VECTORS
    if vectors and not own and source.pooling == "mean":  # what the base itself answers
        raise BadArtefact(f"These are the weights of {base.name} itself: call {base.name} at /v1/embeddings.")
    whole = own or vectors
    if whole:
        save_file(encoder, target / "encoder.safetensors")
    dense = source.kind == SEQUENCES
    if not vectors:
        save_file(_head(source, geometry, dense=dense), target / "head.safetensors")
    limit = max_length or _reads(source, base, geometry)
    if not 8 <= limit <= min(base.max_length, geometry.positions):
        raise BadArtefact(f"{base.name} reads 8 to {min(base.max_length, geometry.positions)} tokens, not {limit}.")
    (target / "parity.json").write_text(json.dumps(_answers(source, task, limit)))
    labels = {tasks.ANSWERS: tasks.ENDS, tasks.RERANK: ["relevance"]}.get(task, source.names)
    manifest = {
        "format": 1, "task": task, "base": base.name, "method": "full" if whole else "head", "labels": labels,
        "max_length": limit, "pooling": source.pooling, "temperature": 1.0, "lora": None,
        "dense": "tanh" if dense else "", "dimensions": source.dimensions,
        "files": {path.name: _entry(path) for path in sorted(target.iterdir())},
    }  # fmt: skip
    (target / MANIFEST).write_text(json.dumps(manifest))


def _check_fits(source: Source, base: Base, geometry: Geometry) -> None:
    if Geometry.read(source.folder / "config.json") != geometry:
        raise BadArtefact(
            f"The encoder's sizes are not those of {base.name}. List its own base in BASES_FILE and name that."
        )
    mine, theirs = (_tokenizer(folder) for folder in (source.folder, base.folder))
    if mine != theirs:
        odd = ", ".join(sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)))
        raise BadArtefact(f"The tokenizer is not that of {base.name}: they differ in {odd}.")


def _tokenizer(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return {key: value for key, value in found.items() if key not in SETTINGS}
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadArtefact("tokenizer.json is not readable JSON.") from error


def _head(source: Source, geometry: Geometry, *, dense: bool) -> dict[str, Array]:
    """The linear layer, and BERT's pooler before it where its class has one."""
    part, wide = PARTS[source.kind], geometry.hidden
    labels = len(source.names)
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "weight": (f"{part}.weight", (labels, wide)),
        "bias": (f"{part}.bias", (labels,)),
    }
    if dense:
        wanted["dense.weight"] = "bert.pooler.dense.weight", (wide, wide)
        wanted["dense.bias"] = "bert.pooler.dense.bias", (wide,)
    for key, shape in wanted.values():
        if key not in source.tensors or source.tensors[key].shape != shape or not labels:
            raise BadArtefact(f"model.safetensors must hold {key!r} with shape {shape}.")
    return {name: np.ascontiguousarray(source.tensors[key]) for name, (key, _) in wanted.items()}


def _reads(source: Source, base: Base, geometry: Geometry) -> int:
    """Tokens: what its settings and its tokenizer were saved with, within what the base reads."""
    most = min(base.max_length, geometry.positions, source.longest or geometry.positions)
    try:
        said = json.loads((source.folder / "tokenizer_config.json").read_text())["model_max_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return most
    return min(most, int(said)) if isinstance(said, int) and said >= 8 else most


def _answers(source: Source, task: str, limit: int) -> dict[str, Any]:
    """`parity.json`: what transformers answers, in fp32, one text at a time. Texts that do not fit are left out."""
    import torch

    from inference import hub

    library = hub.library()
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = library.PreTrainedTokenizerFast(tokenizer_file=str(source.folder / "tokenizer.json"))
        maker = getattr(library, source.kind)
        model = maker.from_pretrained(str(source.folder), use_safetensors=True, dtype=torch.float32, **given).eval()
    except Exception as error:  # a model file can be wrong in as many ways as the library has checks
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadArtefact(f"transformers cannot load the folder: {said[:300]}") from error
    paired = task in tasks.PAIRED
    kept: list[Any] = []
    rows: list[Any] = []
    for text in PAIRS if paired else TEXTS:
        batch = tokenizer(
            *(text if isinstance(text, tuple) else (text,)), return_token_type_ids=True, return_tensors="pt"
        )
        if batch["input_ids"].shape[1] > limit:
            continue
        with torch.inference_mode():
            rows.append(_row(task, model(**batch), batch.sequence_ids(0), source.pooling))
        kept.append(text)
    if not kept:
        raise BadArtefact(f"A model that reads {limit} tokens reads none of the texts it would be compared with.")
    return {"pairs" if paired else "texts": kept, _KEYS.get(task, "probabilities"): rows}


_KEYS = {tasks.TOKENS: "tokens", tasks.ANSWERS: "logits"}


def _row(task: str, out: Any, sequences: list[int | None], pooling: str) -> Any:
    """What one text's answer is compared with (`inference.recorded`)."""
    if task == tasks.ANSWERS:
        own = [0, *(place for place, one in enumerate(sequences) if one == 1)]
        return [[float(out.start_logits[0, i]), float(out.end_logits[0, i])] for i in own]
    if task == tasks.EMBEDDINGS:
        states = out.last_hidden_state[0]
        vector = states.mean(0) if pooling == "mean" else states[0]
        return (vector / vector.norm()).tolist()
    logits = out.logits[0]
    if task == tasks.TOKENS:
        return logits.softmax(-1)[[place for place, one in enumerate(sequences) if one == 0]].tolist()
    if task == tasks.REGRESSION:
        return logits.tolist()
    return (logits.softmax(-1) if task == tasks.CLASSIFICATION else logits.sigmoid()).tolist()


def _entry(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--base", required=True)
    parser.add_argument("--catalogue", type=Path, default=None, help="the installation's BASES_FILE")
    parser.add_argument("--task", default="", choices=["", *tasks.LABELS])
    parser.add_argument("--max-length", type=int, default=0)
    parser.add_argument("--pooling", default="", choices=["", *POOLINGS])
    asked = parser.parse_args()
    try:
        known = bases(asked.catalogue)
        if asked.base not in known:
            raise BadArtefact(f"There is no base {asked.base!r} here; there are: {', '.join(sorted(known))}.")
        source = read(asked.source, asked.pooling)
        task = task_of(source, asked.task)
        convert(source, asked.target, known[asked.base], task, asked.max_length)
    except EngineError as error:
        sys.stdout.write(json.dumps({"problem": error.message}) + "\n")
        return 1
    sys.stdout.write(json.dumps({"task": task}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
