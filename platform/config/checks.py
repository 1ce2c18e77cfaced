"""What Django checks before commands and deployments, beside its own: that what must be confined can be."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, register

from kit import sandbox


@register(Tags.security)
def confinement(**_: Any) -> list[CheckMessage]:
    """SANDBOX=required on a machine where bubblewrap does not work is an error."""
    if settings.SANDBOX != sandbox.REQUIRED or not (problem := sandbox.fault()):
        return []
    return [Error(sandbox.required_words(problem), id="tunesmith.E001")]


@register(Tags.security, deploy=True)
def confinement_in_force(**_: Any) -> list[CheckMessage]:
    """For `check --deploy`: which confinement this machine gives."""
    if settings.SANDBOX == sandbox.OFF:
        return [Info("Trainers and parsers are not confined: SANDBOX=off.", id="tunesmith.I001")]
    problem = sandbox.fault() if settings.SANDBOX == sandbox.AUTO else ""
    words = f"Trainers and parsers have a session of their own and no more on this machine: {problem}."
    return [Info(words, hint="Install bubblewrap and allow user namespaces.", id="tunesmith.I001")] if problem else []
