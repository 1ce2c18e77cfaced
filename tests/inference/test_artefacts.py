"""Bad artefacts are refused with the file and the reason, and nothing in them ever runs."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from inference.artefact import read_artefact
from inference.errors import BadArtefact
from inference.tensors import read_tensors
from tests.inference.artefacts import GEOMETRY, make, record_parity, rewrite


def check_refused(made, match: str) -> None:
    with pytest.raises(BadArtefact, match=match):
        read_artefact(made.folder, made.sha256, GEOMETRY)


def tensor_file(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


class Exploit:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_pickle_in_place_of_tensors_is_refused_and_never_run(tmp_path):
    made = make(tmp_path / "a")
    (made.folder / "head.safetensors").write_bytes(pickle.dumps(Exploit(tmp_path / "ran")))
    rewrite(made)
    check_refused(made, r"head\.safetensors is not a safetensors file")
    assert not (tmp_path / "ran").exists()


def test_a_changed_file_is_refused(tmp_path):
    made = make(tmp_path / "a")
    path = made.folder / "head.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    check_refused(made, r"head\.safetensors is damaged: its sha256")


def test_a_changed_manifest_is_refused(tmp_path):
    made = make(tmp_path / "a")
    sha256 = made.sha256
    rewrite(made, temperature=2.0)
    with pytest.raises(BadArtefact, match=r"artefact\.json is not the file that was registered"):
        read_artefact(made.folder, sha256, GEOMETRY)


def test_a_truncated_or_missing_file_is_refused(tmp_path):
    made = make(tmp_path / "a")
    path = made.folder / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    check_refused(made, "bytes; artefact.json says")
    path.unlink()
    check_refused(made, r"head\.safetensors cannot be opened")


def test_links_and_pipes_are_refused(tmp_path):
    made = make(tmp_path / "a")
    path = made.folder / "head.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    check_refused(made, "cannot be opened")
    path.unlink()
    os.mkfifo(path)
    check_refused(made, "not a regular file")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": 2}, "format"),
        ({"labels": ["a", "a", "b", "c", "d"]}, "different from each other"),
        ({"labels": ["only one"]}, "1 labels, which does not fit 'text-classification'"),
        ({"labels": [], "task": "regression"}, "0 labels, which does not fit 'regression'"),
        ({"task": "embeddings", "method": "head"}, "5 labels, which does not fit 'embeddings'"),
        ({"task": "embeddings", "labels": []}, "a head alone"),
        ({"task": "palm-reading"}, "task"),
        ({"labels": ["a", "b"]}, "shape"),
        ({"temperature": 0}, "temperature"),
        ({"max_length": 10**9}, "max_length"),
        ({"pooling": "max"}, "pooling"),
        ({"method": "magic"}, "method"),
        ({"method": "lora"}, "exactly when the method is lora"),
        ({"method": "full"}, "does not list encoder.safetensors"),
        ({"lora": {"rank": 8, "alpha": 16, "targets": ["query"]}}, "exactly when"),
        ({"lora": {"rank": 0, "alpha": 16, "targets": ["query"]}}, "rank"),
        ({"files": {}}, "does not list head"),
        ({"files": "../../etc"}, "files"),
    ],
)
def test_a_manifest_that_means_nothing_is_refused(tmp_path, changes, match):
    made = make(tmp_path / "a")
    rewrite(made, **changes)
    check_refused(made, match)


def test_an_adapter_with_unknown_targets_is_refused(tmp_path):
    made = make(tmp_path / "a", "lora")
    rewrite(made, lora={"rank": 8, "alpha": 16, "targets": ["query", "classifier"]})
    check_refused(made, "targets must be")


@pytest.mark.parametrize("probabilities", [[[0.5, 0.5]], [[0.2] * 5] * 2, []])
def test_a_parity_file_of_the_wrong_shape_is_refused(tmp_path, probabilities):
    made = make(tmp_path / "a")
    record_parity(made, ["one text"], np.array([[0.2] * 5]))
    (made.folder / "parity.json").write_text(json.dumps({"texts": ["one text"], "probabilities": probabilities}))
    rewrite(made)
    check_refused(made, "parity.json must hold one row")


A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
EIGHT = np.zeros(2, "<f4").tobytes()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "too short"),
        (struct.pack("<Q", 2**63) + b"{}", "announces a header of 9223372036854775808"),
        (struct.pack("<Q", 100) + b"{}", "announces a header of 100"),
        (tensor_file(b"[]"), "not a JSON object"),
        (tensor_file(b"{nonsense"), "not valid JSON"),
        (tensor_file(b"[" * 100_000), "not valid JSON"),
        (tensor_file(b'{"a": {}, "a": {}}'), "twice"),
        (tensor_file({"a": {}}), "not described"),
        (tensor_file({"a": A | {"dtype": "F64"}}, EIGHT), "type 'F64'"),
        (tensor_file({"a": A | {"dtype": "I64", "shape": [1]}}, EIGHT), "type I64"),
        (tensor_file({"a": A | {"shape": [-2]}}, EIGHT), "whole number"),
        (tensor_file({"a": A | {"shape": [True, 2]}}, EIGHT), "whole number"),
        (tensor_file({"a": A | {"shape": [2**62, 2**62]}}, EIGHT), "does not fit"),
        (tensor_file({"a": A, "b": A}, EIGHT), "overlap"),
        (tensor_file({"a": A, "b": A | {"data_offsets": [4, 12]}}, EIGHT + EIGHT), "overlap"),
        (tensor_file({"a": A | {"data_offsets": [8, 16]}}, EIGHT + EIGHT), "overlap or leave a gap"),
        (tensor_file({"a": A}, EIGHT + b"more"), "describes 8"),
        (tensor_file({"a": A}, EIGHT[:4]), "describes 8"),
        (tensor_file({"a": A}, np.array([1, np.nan], "<f4").tobytes()), "not finite"),
    ],
)
def test_a_malformed_tensor_file_is_refused(data, match):
    with pytest.raises(BadArtefact, match=match):
        read_tensors(data, "file")


def test_half_precision_weights_are_widened():
    values = np.array([1.5, -0.25], np.float32)
    header = {
        "h": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [4, 8]},
    }
    body = values.astype("<f2").tobytes() + (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    read = read_tensors(tensor_file(header, body), "file", {"h": (2,), "b": (2,)})
    assert read["h"].tolist() == read["b"].tolist() == values.tolist()
