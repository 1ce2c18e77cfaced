"""What jobs and models are called in titles and lists."""

from django.utils.translation import gettext as _

from registry.models import Model
from training.models import Job


def job_name(job: Job) -> str:
    """A job's suffix, or the tail of its id."""
    return job.suffix or _("job %(tail)s") % {"tail": job.public_id[-8:]}


def short_name(model: Model) -> str:
    """A model's suffix (or base) and the tail of its name."""
    tail = model.name.rsplit(":", 1)[-1]
    return f"{model.suffix or model.base}:{tail}" if tail != model.name else model.name
