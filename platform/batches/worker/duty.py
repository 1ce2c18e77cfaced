"""One doorbell: work on batches, a turn at a time, until none is worth one."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections

from batches.errors import Fenced
from batches.lines import Problem
from batches.models import Batch
from batches.services.endings import batch_fail, batch_finish, batch_stop, lines_left
from batches.services.turns import Turn, turn_claim, turn_end, turn_keep
from batches.services.validating import batch_accept, file_check
from batches.worker.asking import Asker, Pause
from batches.worker.door import Door
from batches.worker.watch import Stopped, Watch, draining
from kit.storage import StorageAway

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 15.0
"""When to try again after a fault of ours."""


def work() -> int:
    """Turns until no batch is worth one, or the process is asked to leave; how many."""
    turns = 0
    while not draining.is_set():
        close_old_connections()
        turn = turn_claim()
        if turn is None:
            break
        serve(turn)
        turns += 1
    return turns


def serve(turn: Turn) -> None:
    """One turn. What goes wrong ends the turn and not the batch: the next one goes on from what is stored."""
    try:
        _served(turn)
    except Fenced as error:
        logger.info("%s", error)
    except Stopped:  # asked to leave while it was being ended: the next turn ends it
        turn_end(turn)
    except (DatabaseError, InterfaceError):  # the lease runs out by itself
        logger.warning("the database is away; turn %s of batch %s ends", turn.number, turn.batch_id, exc_info=True)
        close_old_connections()
    except StorageAway:
        logger.warning("the storage is away; turn %s of batch %s ends", turn.number, turn.batch_id)
        turn_end(turn, seconds=AGAIN_SECONDS)
    except Exception:
        logger.exception("turn %s of batch %s failed", turn.number, turn.batch_id)
        turn_end(turn, seconds=AGAIN_SECONDS)


def _served(turn: Turn) -> None:
    watch = Watch(turn)
    try:
        pause = _go_on(turn, watch)
    except Stopped as stopped:
        if stopped.state:
            _finish(turn, watch, stopped.state)
        else:
            turn_end(turn)
        return
    if pause is None:
        return
    if pause.refused:
        batch_stop(turn, Problem("key_refused", f"The rest was not asked: {pause.refused}"))
        _finish(turn, watch, Batch.State.CANCELLED)
        return
    turn_end(turn, waits_for=pause.waits_for, seconds=pause.seconds)


def _go_on(turn: Turn, watch: Watch) -> Pause | None:
    """From where it stands to its end, or to why not."""
    state = turn_keep(turn).state
    if state == Batch.State.FINALIZING:
        _finish(turn, watch, Batch.State.COMPLETED)
        return None
    watch.look()
    if state == Batch.State.VALIDATING:
        checker = file_check(turn, watch.look)
        problems = checker.problems or batch_accept(turn, checker)
        if problems:
            batch_fail(turn, problems)
            return None
    door = Door(settings.GATEWAY_URL)
    try:
        pause = Asker(turn, watch, lines_left(turn, watch.look), door).run()
    finally:
        door.close()
    if pause is None:
        _finish(turn, watch, Batch.State.COMPLETED)
    return pause


def _finish(turn: Turn, watch: Watch, state: str) -> None:
    watch.heed_no_more()
    batch_finish(turn, state, watch.look)
