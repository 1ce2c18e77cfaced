"""Artefacts from an object store, for an engine that shares no folder with whoever trained them.

The engine holds no credentials: the caller sends an address for each file, signed for a few minutes, and the engine
fetches only from the stores it was started with. The manifest must have the hash the caller vouches for; every other
file must have the size and hash the manifest says; what differs is never kept. Files stay in a folder of their own,
under a cap of bytes, the least recently used artefact going first: a model that left memory comes back without the
network.

Used by one thread alone. Does not promise that a file is still there after the next `fetch`.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from inference.artefact import MANIFEST, MAX_MANIFEST, read_manifest
from inference.errors import BadArtefact, NoRoom, Unavailable

log = logging.getLogger(__name__)

SERVED = ("head.safetensors", "adapter.safetensors", "encoder.safetensors", "parity.json")
"""What serving reads of an artefact; everything else stays in the store."""
TIMEOUT = 20.0
CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Straight(urllib.request.HTTPRedirectHandler):
    """A store that sends the engine elsewhere is refused: the new place was not in the list."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


_opener = urllib.request.build_opener(_Straight)


@dataclass(frozen=True, slots=True)
class Depot:
    """`stores` are origins such as `https://objects.example.com`; `cap` counts bytes."""

    folder: Path
    cap: int
    stores: tuple[str, ...]

    def fetch(self, sha256: str, urls: dict[str, str], files: Collection[str] = SERVED) -> Path:
        """A local folder with the artefact's manifest and those of `files` that it has, each compared with its hash.

        `urls` maps file names to addresses. Raises `BadArtefact` for what must not be served, `NoRoom` for what is
        larger than the cap, `Unavailable` while the store does not answer.
        """
        if not _SHA256.fullmatch(sha256):
            raise BadArtefact("The hash of the manifest must be 64 hexadecimal digits.")
        target = self.folder / sha256
        target.mkdir(parents=True, exist_ok=True)
        if _digest(target / MANIFEST) != sha256:
            self._download(target, MANIFEST, urls, sha256, MAX_MANIFEST)
        manifest = read_manifest(target, sha256)
        wanted = {name: manifest.files[name] for name in files if name in manifest.files}
        here = {name for name in manifest.files if name in wanted or (target / name).is_file()}
        self._make_room(target, sum(manifest.files[name].bytes for name in here))
        for name, entry in wanted.items():
            if _digest(target / name) != entry.sha256:
                self._download(target, name, urls, entry.sha256, entry.bytes)
        os.utime(target)
        return target

    def _make_room(self, keep: Path, needed: int) -> None:
        """Forget the least recently used artefacts until `needed` bytes fit beside the others. What else lies in the
        folder is not an artefact's, and is somebody else's to clear."""
        if needed > self.cap:
            raise NoRoom(f"The model's files have {needed} bytes; this engine keeps at most {self.cap} on disk.")
        others = [path for path in self.folder.iterdir() if _SHA256.fullmatch(path.name) and path != keep]
        others.sort(key=lambda path: path.stat().st_mtime)
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in others}
        used = sum(sizes.values())
        for path in others:
            if used + needed <= self.cap:
                return
            shutil.rmtree(path)
            used -= sizes[path]
            log.info("forgot the files of %s, %d bytes", path.name, sizes[path])

    def _download(self, target: Path, name: str, urls: dict[str, str], sha256: str, limit: int) -> None:
        url = urls.get(name)
        if url is None:
            raise BadArtefact(f"No address was sent for {name}.")
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" not in self.stores:
            raise BadArtefact("The artefact lies in a store that this engine was not told of.")
        try:
            # The origin is one of those the operator named, and a redirect is not followed.
            with _opener.open(url, timeout=TIMEOUT) as answer:
                _keep(answer, target / name, sha256, limit)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise BadArtefact(f"The store has no {name} of this artefact.") from error
            raise Unavailable(f"The store answered {error.code} for {name}.", retry_after=5.0) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"The store did not give {name}: {error}", retry_after=5.0) from error


def _keep(source: IO[bytes], target: Path, sha256: str, limit: int) -> None:
    """Write a stream under its name once its hash is right; nothing is left of it otherwise."""
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as draft:
        try:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise BadArtefact(f"{target.name} in the store is longer than the {limit} bytes expected.")
                digest.update(chunk)
                draft.write(chunk)
            if digest.hexdigest() != sha256:
                raise BadArtefact(f"{target.name} in the store is damaged: its sha256 is not the expected one.")
            draft.flush()
            os.replace(draft.name, target)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise


def _digest(path: Path) -> str:
    """The sha256 of a file in hex; empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
