"""Where an object on its way in is kept until it is whole: `storage.Incoming` is what others use.

Nothing is under its key before `keep`, and nothing is left after `drop`.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from django.core.files.storage import default_storage

PART = 8 << 20
"""Of an upload to an object store, which takes 10,000 parts."""


class FileComing:
    """A local object on its way in."""

    def __init__(self, folder: Path, target: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        self._file, self._path, self._target = os.fdopen(handle, "wb"), Path(name), target
        self.write = self._file.write

    def keep(self) -> None:
        """Keys are never used twice, so nobody can come between the look and the move."""
        self._file.close()
        if self._target.exists():
            raise FileExistsError(f"the storage key is taken: {self._target}")
        self._path.chmod(0o644)
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(self._target)

    def drop(self) -> None:
        """Remove it. What could not be written before the end cannot be flushed either."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


class PartsComing:
    """An object of an S3 store on its way in. The store shows nothing of it before it is complete."""

    def __init__(self, key: str) -> None:
        store = cast("Any", default_storage)
        if store.exists(key):
            raise FileExistsError(f"the storage key is taken: {key}")
        self._object = store.bucket.Object(f"{store.location}{key}")
        self._settings = store.get_object_parameters(key)
        self._waiting = bytearray()
        self._upload: Any = None
        self._parts: list[dict[str, Any]] = []

    def write(self, chunk: bytes) -> None:
        """Send a part when there is enough for one."""
        self._waiting += chunk
        while len(self._waiting) >= PART:
            if self._upload is None:
                self._upload = self._object.initiate_multipart_upload(**self._settings)
            self._send(bytes(memoryview(self._waiting)[:PART]))
            del self._waiting[:PART]

    def keep(self) -> None:
        """A small object goes in one request."""
        if self._upload is None:
            self._object.put(Body=bytes(self._waiting), **self._settings)
            return
        if self._waiting:
            self._send(bytes(self._waiting))
        self._upload.complete(MultipartUpload={"Parts": self._parts})
        self._upload = None

    def drop(self) -> None:
        """The store throws the parts away."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.abort()

    def _send(self, body: bytes) -> None:
        number = len(self._parts) + 1
        answer = self._upload.Part(number).upload(Body=body)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
