"""Bytes: streamed in and out of the configured object storage, never whole in memory.

Keys are `t/{tenant}/{kind}/{uuid}` and hold nothing a user typed.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast
from uuid import UUID

from django.core.files.base import File
from django.core.files.storage import default_storage

CHUNK = 1 << 20


class TooLarge(Exception):
    """The stream went past its limit; nothing was stored."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


def tenant_key(tenant_id: UUID, kind: str, name: UUID) -> str:
    """The storage key of one tenant's object of a kind (`files`, `datasets`, `models`, …)."""
    if not kind.isidentifier():
        raise ValueError(f"not a kind: {kind!r}")
    return f"t/{tenant_id}/{kind}/{name}"


def write_stream(key: str, chunks: Iterable[bytes], *, limit: int | None = None) -> tuple[int, str]:
    """Store the chunks under key; returns (bytes, sha256 hex). `TooLarge` past limit, with nothing left behind.

    The bytes go through a temporary file, so a reader sees the whole object or none.
    """
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as spool:
        for chunk in chunks:
            size += len(chunk)
            if limit is not None and size > limit:
                raise TooLarge(limit)
            digest.update(chunk)
            spool.write(chunk)
        spool.seek(0)
        saved = default_storage.save(key, File(spool, name=key))
    if saved != key:
        default_storage.delete(saved)
        raise FileExistsError(f"the storage key is taken: {key}")
    return size, digest.hexdigest()


def write_path(key: str, path: Path) -> tuple[int, str]:
    """Store a local file under key; returns (bytes, sha256 hex)."""
    with path.open("rb") as source:
        return write_stream(key, iter(lambda: source.read(CHUNK), b""))


def open_read(key: str) -> IO[bytes]:
    """The object as a binary stream; FileNotFoundError when there is none."""
    return cast("IO[bytes]", default_storage.open(key, "rb"))


def read_chunks(key: str, size: int = CHUNK) -> Iterator[bytes]:
    """The object in chunks."""
    with open_read(key) as stream:
        while chunk := stream.read(size):
            yield chunk


def exists(key: str) -> bool:
    """Whether the object is there."""
    return bool(default_storage.exists(key))


def delete(key: str) -> None:
    """Remove the object; no error when it is gone already."""
    default_storage.delete(key)


def delete_all(keys: Iterable[str]) -> None:
    """Remove several objects; no error for those that are gone already."""
    for key in keys:
        delete(key)


def folder_path(prefix: str) -> Path | None:
    """The local folder behind a prefix of keys; None with an object store, which has no folders."""
    try:
        return Path(default_storage.path(prefix))
    except NotImplementedError:
        return None


def signed_url(key: str) -> str:
    """An address that opens the object for a few minutes, for a process without credentials. Object stores only."""
    return str(default_storage.url(key))


@contextlib.contextmanager
def local_path(key: str) -> Iterator[Path]:
    """A local file with the object's bytes, for a subprocess: the stored file itself, or a temporary copy."""
    stored = folder_path(key)
    if stored is not None:
        yield stored
        return
    with tempfile.NamedTemporaryFile() as copy:
        for chunk in read_chunks(key):
            copy.write(chunk)
        copy.flush()
        yield Path(copy.name)
