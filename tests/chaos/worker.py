"""The Celery application as the fleet's workers load it: the fake lab in place of the real one, and less patience.

`CHAOS` in the environment is a JSON object of what else differs: `silent`, `grace`, `fence`, `quiet` and `forgotten` in
seconds, `version`, the latest spec that this worker reads, and `dies`, one of `BORDERS`.
"""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

from config.celery import app
from training.models.jobs import SPEC_VERSION
from training.selectors import picture
from training.worker import away, concluding, idle, running, supervisor, trainer, workfolder

changes = json.loads(os.environ.get("CHAOS", "{}"))
trainer.MODULE, trainer.CODE = "tests.training.fake_lab", ("tests",)
supervisor.SILENT_SECONDS = changes.get("silent", 40.0)
supervisor.STOP_GRACE = changes.get("grace", 5.0)
away.SELF_FENCE = changes.get("fence", 8.0)
idle.QUIET_SECONDS = changes.get("quiet", 4.0)
workfolder.FORGOTTEN_SECONDS = changes.get("forgotten", 4.0)
picture.HEADS = picture.HEADS.replace(f"<= {SPEC_VERSION}", f"<= {changes.get('version', SPEC_VERSION)}")

BORDERS = {
    "claimed": (running, "_make_ready", False),
    "ready": (running, "Trainer", False),
    "started": (running, "Trainer", True),
    "checkpoint stored": (supervisor, "checkpoint_record", False),
    "result stored": (concluding, "job_succeed", False),
    "published": (concluding, "job_succeed", True),
}
"""Where a worker can be made to die: before or after it does something for the first time."""


def dying(step: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """The step, with the machine's power gone before or after it."""

    def act(*args: Any, **kwargs: Any) -> Any:
        if after:
            step(*args, **kwargs)
        os.killpg(0, signal.SIGKILL)

    return act


if "dies" in changes:
    room, name, after = BORDERS[changes["dies"]]
    setattr(room, name, dying(getattr(room, name), after=after))

__all__ = ["app"]
