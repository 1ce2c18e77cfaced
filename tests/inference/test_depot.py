"""Artefacts behind signed addresses: fetched from the stores the engine was told of, checked, kept under a cap."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference.artefact import NEIGHBOURS
from inference.depot import SERVED, Depot
from inference.errors import BadArtefact, NoRoom, Unavailable
from tests.inference.artefacts import Made, make, rewrite
from tests.inference.conftest import running

pytestmark = pytest.mark.slow  # makes artefacts and starts an engine


@dataclass
class Store:
    """A small HTTP server over a folder, as an object store answers a signed GET."""

    folder: Path
    origin: str = ""
    asked: list[str] = field(default_factory=list)
    broken: int = 0
    """Status of every answer; 0 works."""

    def urls(self, made: Made, *, extra: tuple[str, ...] = ()) -> dict[str, str]:
        names = [path.name for path in made.folder.iterdir()]
        return {name: f"{self.origin}/{made.folder.name}/{name}?signature=x" for name in (*names, *extra)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Running on a free port."""
    kept = Store(tmp_path / "store")
    kept.folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, directory=str(kept.folder), **options)  # type: ignore[arg-type]

        def do_GET(self) -> None:
            kept.asked.append(self.path.split("/")[-1].split("?")[0])
            if kept.broken == 302:
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{self.server.server_port}{self.path}")  # type: ignore[attr-defined]
                self.end_headers()
            elif kept.broken:
                self.send_error(kept.broken)
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.origin = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


def depot_of(tmp_path: Path, store: Store, cap: int = 10**9) -> Depot:
    """A depot that knows the store."""
    return Depot(tmp_path / "depot", cap, (store.origin,))


def test_the_vectors_of_training_rows_are_fetched_when_asked_for_and_count_under_the_cap(
    tmp_path: Path, store: Store
) -> None:
    made = make(store.folder / "a")
    (made.folder / NEIGHBOURS).write_bytes(bytes(5_000))
    rewrite(made)
    size = sum(path.stat().st_size for path in made.folder.iterdir() if path.name in (*SERVED, NEIGHBOURS))
    depot = depot_of(tmp_path, store, cap=size)
    depot.fetch(made.sha256, store.urls(made))
    assert NEIGHBOURS not in store.asked
    folder = depot.fetch(made.sha256, store.urls(made), (NEIGHBOURS,))
    assert (folder / NEIGHBOURS).stat().st_size == 5_000 and store.asked.count(NEIGHBOURS) == 1
    with pytest.raises(NoRoom):
        depot_of(tmp_path, store, cap=size - 1).fetch(made.sha256, store.urls(made), (NEIGHBOURS,))


def test_what_serving_reads_is_fetched_once_and_the_rest_never(tmp_path: Path, store: Store) -> None:
    made = make(store.folder / "a", "lora")
    depot = depot_of(tmp_path, store)
    folder = depot.fetch(made.sha256, store.urls(made))
    assert (folder / "head.safetensors").read_bytes() == (made.folder / "head.safetensors").read_bytes()
    assert (
        set(store.asked) == {"artefact.json", "head.safetensors", "adapter.safetensors"} <= {"artefact.json", *SERVED}
    )
    store.asked.clear()
    assert depot.fetch(made.sha256, store.urls(made)) == folder
    assert store.asked == []


def test_a_damaged_copy_is_fetched_again_and_a_damaged_store_is_refused(tmp_path: Path, store: Store) -> None:
    made = make(store.folder / "a")
    depot = depot_of(tmp_path, store)
    folder = depot.fetch(made.sha256, store.urls(made))
    whole = (folder / "head.safetensors").read_bytes()
    (folder / "head.safetensors").write_bytes(whole[:-1])
    store.asked.clear()
    depot.fetch(made.sha256, store.urls(made))
    assert ((folder / "head.safetensors").read_bytes(), store.asked) == (whole, ["head.safetensors"])
    (folder / "head.safetensors").unlink()
    for wrong in (whole[:-1] + b"x", whole + b"x" * 5_000_000, b""):
        (made.folder / "head.safetensors").write_bytes(wrong)
        with pytest.raises(BadArtefact):
            depot.fetch(made.sha256, store.urls(made))
        assert sorted(path.name for path in folder.iterdir()) == ["artefact.json"]


def test_a_manifest_that_nobody_vouched_for_is_refused(tmp_path: Path, store: Store) -> None:
    made = make(store.folder / "a")
    depot = depot_of(tmp_path, store)
    for sha256 in ("0" * 64, "../" * 20, "", made.sha256.upper()):
        with pytest.raises(BadArtefact):
            depot.fetch(sha256, store.urls(made))
    assert "head.safetensors" not in store.asked


@pytest.mark.parametrize(
    "origin",
    ["http://127.0.0.1:1", "http://localhost:{port}", "https://127.0.0.1:{port}", "file:///etc", "ftp://x", ""],
)
def test_only_the_stores_the_engine_was_told_of_are_asked(tmp_path: Path, store: Store, origin: str) -> None:
    made = make(store.folder / "a")
    elsewhere = origin.format(port=store.origin.rsplit(":", 1)[1])
    urls = {name: url.replace(store.origin, elsewhere) for name, url in store.urls(made).items()}
    with pytest.raises(BadArtefact, match="store"):
        depot_of(tmp_path, store).fetch(made.sha256, urls)
    assert store.asked == []


@pytest.mark.parametrize(
    ("status", "error"), [(302, Unavailable), (403, Unavailable), (503, Unavailable), (404, BadArtefact)]
)
def test_a_store_in_trouble_can_be_asked_again_and_a_missing_file_cannot(
    tmp_path: Path, store: Store, status: int, error: type[Exception]
) -> None:
    made = make(store.folder / "a")
    store.broken = status
    with pytest.raises(error):
        depot_of(tmp_path, store).fetch(made.sha256, store.urls(made))
    assert len(store.asked) == 1


def test_the_least_recently_used_goes_when_the_cap_is_reached(tmp_path: Path, store: Store) -> None:
    made = [make(store.folder / str(seed), seed=seed) for seed in range(3)]
    size = sum(path.stat().st_size for path in made[0].folder.iterdir())
    depot = depot_of(tmp_path, store, cap=int(size * 2.5))
    first, second = (depot.fetch(one.sha256, store.urls(one)) for one in made[:2])
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    others = tmp_path / "depot" / "vllm" / "base" / "adapter"  # what else an engine keeps there
    others.mkdir(parents=True)
    os.utime(others.parents[1], (0, 0))
    depot.fetch(made[0].sha256, store.urls(made[0]))
    third = depot.fetch(made[2].sha256, store.urls(made[2]))
    assert (first.exists(), second.exists(), third.exists(), others.exists()) == (True, False, True, True)
    with pytest.raises(NoRoom):
        depot_of(tmp_path, store, cap=100).fetch(made[1].sha256, store.urls(made[1]))


def test_an_engine_without_the_folder_serves_a_model_from_the_store(tmp_path: Path, store: Store) -> None:
    made = make(store.folder / "a", "lora")
    with (
        running("--store", store.origin, "--depot", str(tmp_path / "kept"), "--root", str(tmp_path / "no")) as engine,
        engine.client() as client,
    ):
        with pytest.raises(BadArtefact):
            client.load(tenant="t", model="m", sha256=made.sha256, folder=str(made.folder))
        described = client.load(tenant="t", model="m", sha256=made.sha256, urls=store.urls(made))
        assert described.labels == json.loads((made.folder / "artefact.json").read_text())["labels"]
        assert len(client.classify(tenant="t", model="m", texts=["where is my refund"]).probabilities) == 4 * 5
        client.unload(tenant="t", model="m")
        store.broken = 503
        client.load(tenant="t", model="m", sha256=made.sha256, urls=store.urls(made))
