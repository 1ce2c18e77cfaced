"""The checkpoints of one attempt on their way into storage, beside the loop that watches its trainer."""

import logging
import threading
from dataclasses import dataclass
from typing import Any

from kit.storage import StorageAway
from kit.untrusted import Opened, Refused
from training.services.checkpoints import Uploaded, checkpoint_upload
from training.services.leases import Lease
from training.worker.away import storage_pause
from training.worker.workfolder import WorkFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Announced:
    """A checkpoint that a trainer has announced. Its files are open, and hold their room on the disk until closed."""

    opened: Opened
    step: int
    manifest_sha256: str
    metrics: dict[str, Any]


class Uploads:
    """One checkpoint at a time into storage, in a thread; of several that wait, the newest."""

    def __init__(self, lease: Lease, folder: WorkFolder) -> None:
        self._lease, self._folder = lease, folder
        self._thread: threading.Thread | None = None
        self._next: Announced | None = None
        self._ready: list[tuple[Uploaded, dict[str, Any]]] = []
        self._refused: str | None = None
        self._over = threading.Event()
        self.away = False
        """Whether the storage did not answer when it was asked last."""
        self._lock = threading.Lock()

    def start(self, event: dict[str, Any], metrics: dict[str, Any]) -> None:
        """Take a checkpoint that the trainer has just announced."""
        try:
            opened = self._folder.hand_over(str(event.get("path")))
        except Refused as error:
            self._refuse(error)
            return
        except OSError as error:  # its own tidying was faster
            logger.warning("a checkpoint could not be opened: %s", error)
            return
        new = Announced(opened, int(event.get("step") or 0), str(event.get("manifest_sha256")), metrics)
        with self._lock:
            if self._next is not None:
                self._next.opened.close()
            self._next = new
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="checkpoint-upload", daemon=True)
                self._thread.start()

    def take(self) -> tuple[Uploaded, dict[str, Any]] | None:
        """The newest stored checkpoint nobody has recorded yet."""
        with self._lock:
            return self._ready.pop() if self._ready else None

    def put_back(self, ready: tuple[Uploaded, dict[str, Any]]) -> None:
        """What was taken could not be recorded; `take` gives it again, after any that is newer."""
        with self._lock:
            self._ready.insert(0, ready)

    def take_refusal(self) -> str | None:
        """Why a checkpoint was not kept, of the first that was refused; once."""
        with self._lock:
            why, self._refused = self._refused, ""
            return why or None

    @property
    def busy(self) -> bool:
        """Whether something that was announced is not stored yet."""
        return self._thread is not None

    def wait(self, seconds: float) -> None:
        """Until what was announced is stored, but not for ever."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def leave(self) -> None:
        """A storage that is away is not asked again, and no further checkpoint is stored."""
        self._over.set()

    def _work(self) -> None:
        while True:
            with self._lock:
                one, self._next = self._next, None
                if one is None:
                    self._thread = None
                    return
            try:
                uploaded = self._store(one)
            except Refused as error:
                self._refuse(error)
                continue
            except OSError as error:
                logger.warning("a checkpoint could not be stored: %s", error)
                continue
            except Exception:  # the next one may be
                logger.exception("a checkpoint of %s could not be stored", self._lease.job_id)
                continue
            finally:
                one.opened.close()
            if uploaded is not None:
                with self._lock:
                    self._ready.append((uploaded, one.metrics))

    def _store(self, one: Announced) -> Uploaded | None:
        """Until the storage takes it; None where that is no use any more."""
        tries = 0
        while not self._over.is_set():
            try:
                uploaded = checkpoint_upload(
                    lease=self._lease, opened=one.opened, step=one.step, manifest_sha256=one.manifest_sha256
                )
            except StorageAway:
                self.away = True
                logger.warning(
                    "the storage is away; the checkpoint of step %s of %s waits", one.step, self._lease.job_id
                )
                if self._over.wait(storage_pause(tries)) or self._next is not None:
                    return None
                tries += 1
            else:
                self.away = False
                return uploaded
        return None

    def _refuse(self, error: Refused) -> None:
        logger.warning("a checkpoint of %s was refused: %s", self._lease.job_id, error)
        with self._lock:
            self._refused = str(error) if self._refused is None else self._refused
