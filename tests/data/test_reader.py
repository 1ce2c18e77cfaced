"""The process that reads hostile files: the same answer as here, nothing of ours in reach, an end to its patience."""

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from data import reader
from data.models import File
from data.services import file_process
from kit import processes, sandbox
from tenants.scope import tenant_scope
from tests.conftest import Cast, read_in_a_process
from tests.data.making import ready_dataset, sample, stored_file


@pytest.fixture(autouse=True)
def _a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other tests spare themselves."""
    monkeypatch.setattr(reader, "run", read_in_a_process)


def checked(cast: Cast) -> File:
    """A file of the owner's after its check."""
    file = stored_file(cast.owner)
    file_process(tenant_id=file.tenant_id, file_id=file.pk)
    with tenant_scope(file.tenant_id):
        file.refresh_from_db()
    return file


def test_a_process_of_its_own_finds_the_same(cast: Cast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_bytes(sample() + b"one too many,refund,x\n,refund\n")
    request = {"path": str(path), "options": {}, "rules": {}}
    alone = read_in_a_process("data.examine", request)
    monkeypatch.undo()
    assert reader.run is not read_in_a_process
    assert alone == reader.run("data.examine", request)
    assert alone["rows"] == 62


def test_a_version_is_written_by_a_process_of_its_own(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    _, alone = ready_dataset(cast.owner)
    monkeypatch.undo()
    _, here = ready_dataset(cast.owner)
    assert alone.state == "ready"
    assert (alone.content_sha256, alone.rows, alone.splits) == (here.content_sha256, here.rows, here.splits)


def test_one_that_needs_more_memory_than_a_file_may_use_is_the_files_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reader, "PLATFORM", tmp_path)
    monkeypatch.setattr(reader, "READER_MEMORY_BYTES", 1 << 29)
    (tmp_path / "greedy.py").write_text(
        "import json, resource, sys\n"
        "cap = json.load(open(sys.argv[1]))['memory_bytes']\n"
        "resource.setrlimit(resource.RLIMIT_AS, (cap, cap))\n"
        "bytearray(1 << 30)\n"
    )
    with pytest.raises(reader.ReaderDied, match="more memory than a file may use") as died:
        reader.run("greedy", {})
    assert died.value.file_fault


def test_a_file_that_takes_too_long_ends_in_a_finding(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "READER_SECONDS", 0.01)
    file = checked(cast)
    assert file.status == File.Status.ERROR
    assert file.status_details.startswith("The file could not be read: reading took more than")


def test_the_process_sees_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_KEY", "ours")
    monkeypatch.setattr(reader, "PLATFORM", tmp_path)
    (tmp_path / "tell.py").write_text("import json, os; print(json.dumps(dict(os.environ)))")
    seen = reader.run("tell", {})
    assert "ours" not in seen.values()
    threads = {"TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    ours = {"PATH", "PYTHONPATH", "PYTHONUTF8", "TMPDIR", processes.MARK}
    assert set(seen) - {"LC_CTYPE", "PWD"} == ours | threads


CURIOUS = """
import json, os, socket, sys
asked = json.load(open(sys.argv[1]))
try:
    socket.create_connection(("127.0.0.1", asked["port"]), 1)
    network = True
except OSError:
    network = False
seen = [path for path in asked["others"] if os.path.exists(path)]
try:
    open(asked["path"], "a").close()
    changed = True
except OSError:
    changed = False
if os.fork() == 0:
    os.setsid()
    os.close(1)
    os.close(2)
    os.execve("/bin/sleep", ["sleep-" + asked["name"], "600"], os.environ if asked["marked"] else {})
print(json.dumps({"network": network, "seen": seen, "read": open(asked["path"]).read(), "changed": changed}))
"""


def _running(name: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if name.encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
    return found


def _curious(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, marked: bool) -> dict[str, Any]:
    code, files = tmp_path / "code", tmp_path / "files"
    code.mkdir()
    files.mkdir()
    monkeypatch.setattr(reader, "PLATFORM", code)
    (code / "curious.py").write_text(CURIOUS)
    (files / "asked.csv").write_text("text,label")
    (files / "another.csv").write_text("of another tenant")
    name = f"hidden-{os.getpid()}"
    others = [str(files / "another.csv"), str(Path(django_settings.HOME)), "/etc/shadow"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        request = {"path": str(files / "asked.csv"), "others": others, "name": name, "marked": marked}
        answer = reader.run("curious", request | {"port": server.getsockname()[1]})
    time.sleep(0.05)
    assert not _running(name), "it leaves nobody behind"
    return answer


@pytest.mark.skipif(bool(sandbox.fault()), reason=sandbox.fault() or "-")
def test_a_confined_reader_reaches_its_file_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    settings.SANDBOX = "required"
    answer = _curious(monkeypatch, tmp_path, marked=False)
    assert answer == {"network": False, "seen": [], "read": "text,label", "changed": False}


def test_a_reader_that_nothing_confines_leaves_no_child_behind_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    settings.SANDBOX = "off"
    assert _curious(monkeypatch, tmp_path, marked=True)["read"] == "text,label"
