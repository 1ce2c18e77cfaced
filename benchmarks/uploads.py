"""What an upload costs: megabytes a second, bytes written for each byte sent, and the most memory the web process had.

    python benchmarks/uploads.py [--megabytes 300] [--rounds 2] [--beside FOLDER]

One client sends a file to `POST /v1/files` of the real web process and deletes it again. `--beside` is as in pages.py.
Bytes written are those the kernel counts for the process, so scratch files count as well as the object itself.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from pages import Web, database, production, web
from product import ROOT

LINE = b"where is the refund for my order of last week,refund_status\n"
PIECE = LINE * 17_000
BOUNDARY = b"5d41402abc4b2a76b9719d911017c592"


def form(size: int) -> tuple[int, Iterator[bytes]]:
    """A multipart form with a CSV of about `size` bytes: (length, pieces)."""
    head = b"--%s\r\nContent-Disposition: form-data; name=purpose\r\n\r\nfine-tune\r\n--%s\r\n" % (BOUNDARY, BOUNDARY)
    head += (
        b'Content-Disposition: form-data; name="file"; filename="big.csv"\r\nContent-Type: text/csv\r\n\r\ntext,label\n'
    )
    tail = b"\r\n--%s--\r\n" % BOUNDARY
    count = size // len(PIECE)

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(count):
            yield PIECE
        yield tail

    return len(head) + count * len(PIECE) + len(tail), pieces()


def figure(web_: Web, name: str, file: str) -> int:
    """A number the kernel keeps about the process."""
    lines = Path(f"/proc/{web_.process.pid}/{file}").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def upload(web_: Web, key: str, size: int) -> tuple[float, float]:
    """(megabytes a second, bytes written for each byte) of one file, which is deleted again."""
    length, pieces = form(size)
    host = web_.url.removeprefix("http://")
    headers = {"authorization": f"Bearer {key}", "content-length": str(length)}
    kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    connection = http.client.HTTPConnection(host, timeout=300)
    written, begun = figure(web_, "write_bytes", "io"), time.perf_counter()
    connection.request("POST", "/v1/files", body=pieces, headers=headers | {"content-type": kind})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    took = time.perf_counter() - begun
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {body}")
    written = figure(web_, "write_bytes", "io") - written
    connection.request("DELETE", f"/v1/files/{body['id']}", headers={"authorization": f"Bearer {key}"})
    connection.getresponse().read()
    connection.close()
    return length / took / 1e6, written / length


def sender() -> str:
    """The key of somebody with much room."""
    from billing.services.entitlements import override_set
    from tenants.scope import tenant_scope
    from tests.conftest import make_person

    person = make_person("bench")
    with tenant_scope(person.tenant.id):
        room = {"file_bytes": 10**11, "storage_bytes": 10**13}
        override_set(limits=room, reason="benchmark", created_by="benchmark")
    return person.key


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beside", type=Path, help="another checkout, to take turns with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, contextlib.ExitStack() as stack:
        production(home)
        stack.enter_context(database())
        key = sender()
        webs = [stack.enter_context(web("this", ROOT))]
        if arguments.beside:
            webs.append(stack.enter_context(web("beside", arguments.beside.resolve())))
        for web_ in webs:
            upload(web_, key, 2_000_000)
        before = {web_.name: figure(web_, "VmHWM", "status") for web_ in webs}
        found: dict[str, list[tuple[float, float]]] = {web_.name: [] for web_ in webs}
        for turn in range(arguments.rounds):
            for web_ in webs if turn % 2 == 0 else reversed(webs):
                found[web_.name].append(upload(web_, key, arguments.megabytes * 1_000_000))
        for web_ in webs:
            speeds, writes = zip(*found[web_.name], strict=True)
            grown = (figure(web_, "VmHWM", "status") - before[web_.name]) / 1024
            print(
                f"{web_.name:<8} {median(speeds):7.1f} MB/s  {median(writes):5.2f} bytes written a byte  "
                f"memory grew by {grown:.1f} MiB"
            )
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
