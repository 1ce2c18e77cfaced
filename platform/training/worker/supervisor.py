"""The loop around one trainer: read its events, beat the lease, obey the ledger, keep the checkpoints.

What it holds to:
- It writes only through the lease. A write that is refused (Fenced) means that the job is somebody else's now: the
  trainer is killed and nothing is published.
- While the database is away the trainer goes on and nothing is published; after SELF_FENCE seconds it is killed.
- A trainer that takes more memory, disk or processes than an attempt may is killed within about a second.
- A trainer that says nothing for too long is killed, so that a hung one cannot renew its lease for ever.
- Time is monotonic here; the lease's own time is the database's.
"""

import logging
import threading
import time
from typing import Any

from django.conf import settings
from django.db import connections

from training import states
from training.errors import Fenced
from training.models import Job
from training.services import money
from training.services.checkpoints import checkpoint_record
from training.services.events import News, warn
from training.services.leases import Lease, Signals, lease_advance, lease_look, lease_renew
from training.worker import away
from training.worker.away import AWAY
from training.worker.contract import REFUSED
from training.worker.limits import Limits, Watch
from training.worker.memory import oom_kills
from training.worker.outcome import End, Excess, classify, in_company
from training.worker.reading import Reading
from training.worker.together import Part
from training.worker.trainer import Trainer
from training.worker.uploads import Uploads
from training.worker.workfolder import WorkFolder

logger = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
"""Events are written at most this often; between writes a cancel is looked for as often."""
SILENT_SECONDS = 600.0
SILENT_BEFORE_STEPS = 1800.0
STOP_GRACE = 20.0
"""How long a trainer gets to write a checkpoint after SIGTERM."""


class Supervisor:
    """Watches one trainer, or one job's part of it, to its end. `draining` is set when this worker itself is asked to
    leave; `spent` are the seconds that earlier attempts took of the job's time limit."""

    def __init__(
        self,
        lease: Lease,
        job: Job,
        trainer: Trainer | Part,
        folder: WorkFolder,
        draining: threading.Event,
        began: float,
        limits: Limits,
        spent: float = 0.0,
    ) -> None:
        self.lease, self.job, self.trainer, self.folder, self.draining = lease, job, trainer, folder, draining
        self.reading = Reading()
        self.reading.standing.total_steps = job.total_steps
        self.why = ""
        """Why the trainer was asked to stop: cancelled, preempted, paused, quota, suspended, drained, timeout, ceiling,
        excess, stalled; empty while it is not."""
        self.excess: Excess | None = None
        self._deadline = 0.0
        self._began = self._heard = self._wrote = self._looked = began
        self._reached = began
        self._seconds = (job.max_runtime_seconds - spent) * trainer.runs  # several in a process take turns
        self._gaps: list[float] = []
        self._running = False
        self._uploads = Uploads(lease, folder)
        self._watch = Watch(trainer, folder.root, limits)
        self._kills = oom_kills()

    def watch(self) -> End:
        """Until the trainer has ended; its end. Raises Fenced, with the trainer killed."""
        self._reached = time.monotonic()
        over = threading.Event()
        threading.Thread(target=self._fence, args=(over,), name="fence", daemon=True).start()
        try:
            while not self.trainer.ended:
                event = self.trainer.next(0.2)
                moment = time.monotonic()
                if event is not None:
                    self._take(event, moment)
                self._beat(moment)
                self._obey(moment)
            self._flush()
            return self._end()
        except BaseException:
            self.trainer.kill()
            raise
        finally:
            over.set()
            self._uploads.leave()

    def _fence(self, over: threading.Event) -> None:
        """Runs in a thread: a database that hangs holds the loop, and must not hold the trainer on its machine."""
        while not over.wait(min(away.SELF_FENCE / 4, 5.0)):
            if time.monotonic() - self._reached > away.SELF_FENCE:
                logger.warning("the database was away for too long; the trainer of %s is ended", self.lease.job_id)
                self.trainer.kill()
                return

    def _take(self, event: dict[str, Any], moment: float) -> None:
        if event["event"] == REFUSED:  # no sign of life
            self.reading.take(event, moment)
            return
        self._gaps = [*self._gaps[-50:], moment - self._heard]
        self._heard = moment
        self.reading.take(event, moment)
        if self.reading.checkpoint is not None:
            self._uploads.start(self.reading.checkpoint, dict(self.reading.last_metrics))
            self.reading.checkpoint = None

    def _beat(self, moment: float) -> None:
        """Write what is new, or renew the lease when it is time, or just look; hear a cancel in any case."""
        due = settings.TRAINING_HEARTBEAT_SECONDS
        news = bool(self.reading.pending)
        try:
            if moment - self._wrote >= (WRITE_SECONDS if news else due):
                self._hear(self._renew())
                self._record_checkpoints()
            elif moment - self._looked >= WRITE_SECONDS:
                self._looked = moment
                self._hear(lease_look(lease=self.lease))
                self._record_checkpoints()
        except AWAY as error:
            self._database_away(error, moment)

    def _renew(self) -> Signals:
        if not self._running:
            advanced = lease_advance(lease=self.lease, state=states.RUNNING)
            self._running = True  # only now: it is tried again where the database was away
            if not advanced:
                return Signals(cancelled=True)
        pending = list(self.reading.pending)
        signals = lease_renew(lease=self.lease, standing=self.reading.standing, news=pending)
        del self.reading.pending[: len(pending)]
        self._wrote = self._looked = self._reached = time.monotonic()
        return signals

    def _hear(self, signals: Signals) -> None:
        self._reached = time.monotonic()
        if signals.cancelled and self.why != "cancelled":
            self.why = "cancelled"
            self.trainer.kill()
        elif signals.stop and not self.why:
            self._stop(signals.stop, self._reached)

    def _database_away(self, error: Exception, moment: float) -> None:
        logger.warning("the database is away; the trainer goes on: %s", error)
        connections["default"].close()
        self._looked = moment
        if moment - self._reached > away.SELF_FENCE:
            raise Fenced("the database was away for too long") from error

    def _record_checkpoints(self) -> None:
        if (why := self._uploads.take_refusal()) is not None:
            self.reading.pending.append(warn(f"A checkpoint was not kept: {why}", code="checkpoint_refused"))
        while (ready := self._uploads.take()) is not None:
            uploaded, metrics = ready
            try:
                newest = checkpoint_record(lease=self.lease, uploaded=uploaded, metrics=metrics)
            except AWAY:
                self._uploads.put_back(ready)
                raise
            if newest:
                data = {"step": uploaded.step, "bytes": uploaded.size}
                self.reading.pending.append(News(f"Checkpoint at step {uploaded.step}", code="checkpoint", data=data))

    def _obey(self, moment: float) -> None:
        """Ask the trainer to stop where there is a reason, and kill it when it does not."""
        if self.excess is None and (excess := self._watch.look(moment)) is not None:
            self.excess, self.why = excess, self.why or "excess"
            self.trainer.kill(everybody=excess.code != "disk")  # each run has its own scratch
        if self.why:
            if self._deadline and moment > self._deadline and not self.trainer.was_killed_by_us:
                self.trainer.kill()
            return
        if self.draining.is_set():
            self._stop("drained", moment)
        elif moment - self._began > self._seconds:
            self._stop("timeout", moment)
        elif self._over_ceiling():
            self._stop("ceiling", moment)
        elif moment - self._heard > self._patience():
            self.why = "stalled"
            self.trainer.kill()

    def _stop(self, why: str, moment: float) -> None:
        self.why = why
        self._deadline = moment + STOP_GRACE * self.trainer.runs
        self.trainer.ask_stop()

    def _over_ceiling(self) -> bool:
        """Steps are planned to stay within the ceiling; this is for the case that a plan was wrong by a tenth."""
        tokens = self.reading.standing.trained_tokens
        return bool(tokens) and 10 * money.cost_so_far(self.job, tokens) > 11 * max(self.job.ceiling_nano, 1)

    def _patience(self) -> float:
        """Seconds; longer where others take turns with it, of which each may measure or save meanwhile."""
        if self.reading.standing.phase != "training" or not self._gaps:
            return SILENT_BEFORE_STEPS * self.trainer.runs
        return max(10 * sorted(self._gaps)[len(self._gaps) // 2], SILENT_SECONDS * self.trainer.runs)

    def _flush(self) -> None:
        """After the trainer's end: the last checkpoint and the last events, as far as the ledger takes them."""
        self._await_checkpoint()
        deadline = time.monotonic() + away.SELF_FENCE
        while True:
            try:
                self._record_checkpoints()
                self._hear(self._renew())
                return
            except AWAY as error:
                self._database_away(error, time.monotonic())
                if time.monotonic() > deadline:
                    raise Fenced("the database did not come back") from error
                time.sleep(1.0)

    def _await_checkpoint(self) -> None:
        """The last checkpoint on its way into storage; with a storage that is away as patiently as with the database,
        where the run is to go on from there."""
        began = time.monotonic()
        goes_on = self.reading.done is None and self.why not in ("timeout", "excess")
        while self._uploads.busy and self.why != "cancelled":
            patience = (away.SELF_FENCE if goes_on else 0.0) if self._uploads.away else STOP_GRACE * 3
            if time.monotonic() - began > patience:
                break
            self._uploads.wait(0.2)
            self._beat(time.monotonic())
        self._uploads.leave()  # before the last of what is stored is recorded

    def _end(self) -> End:
        status = self.trainer.wait()
        grown = oom_kills() > self._kills or self.trainer.oom_kills > 0
        end = classify(
            status,
            done=self.reading.done,
            error=self.reading.error,
            killed_by_kernel=grown and not self.trainer.was_killed_by_us and status == -9,
            excess=self.excess,
            peak=self._watch.peak,
        )
        if isinstance(self.trainer, Part):
            end = in_company(end, own=self.trainer.told or (self.trainer.was_killed_by_us and self.why != "stalled"))
        if end.kind in ("crashed", "failed"):
            logger.warning("trainer of %s: %s\n%s", self.lease.job_id, end.message, self.trainer.last_words())
        return end


def resumed(step: int, damaged: list[str]) -> list[News]:
    """What the log says when an attempt begins where another ended."""
    news = [warn(problem, code="checkpoint_damaged") for problem in damaged]
    if step > 0:
        news.append(News(f"Continuing from step {step}.", code="resumed", data={"step": step}))
    return news
