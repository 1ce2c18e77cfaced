"""The Celery application as the fleet's workers load it: the fake lab in place of the real one, and less patience.

`CHAOS` in the environment is a JSON object of what else differs: `silent`, `grace`, `fence`, `quiet` and `forgotten` in
seconds, and `version`, the latest spec that this worker reads.
"""

import json
import os

from config.celery import app
from training.models.jobs import SPEC_VERSION
from training.selectors import picture
from training.worker import idle, supervisor, trainer, workfolder

changes = json.loads(os.environ.get("CHAOS", "{}"))
trainer.MODULE, trainer.CODE = "tests.training.fake_lab", ("tests",)
supervisor.SILENT_SECONDS = changes.get("silent", 40.0)
supervisor.STOP_GRACE = changes.get("grace", 5.0)
supervisor.SELF_FENCE = changes.get("fence", 8.0)
idle.QUIET_SECONDS = changes.get("quiet", 4.0)
workfolder.FORGOTTEN_SECONDS = changes.get("forgotten", 4.0)
picture.HEADS = picture.HEADS.replace(f"<= {SPEC_VERSION}", f"<= {changes.get('version', SPEC_VERSION)}")

__all__ = ["app"]
