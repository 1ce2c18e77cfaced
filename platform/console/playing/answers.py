"""What one run brought for one model."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy

from console.playing.subjects import Subject
from inference.errors import BadRequest as AskedWrongly
from inference.errors import EngineError
from kit.errors import ApiError, BadRequest, Unavailable

logger = logging.getLogger(__name__)

AWAY = gettext_lazy(
    "The engine did not answer. It is our fault, it is logged, and it costs nothing. Try again in a moment."
)

Values = dict[str, Any]
"""The form's fields, as they were read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer or an error, and the milliseconds it took. The first model has number 0."""

    number: int
    subject: Subject
    answer: Any = None
    error: ApiError | None = None
    ms: float = 0.0


def outcome_of(number: int, subject: Subject, ask: Callable[[], Any]) -> Outcome:
    """Ask, and take the time."""
    began = time.perf_counter()
    try:
        return Outcome(number, subject, ask(), None, (time.perf_counter() - began) * 1000)
    except ApiError as error:
        return Outcome(number, subject, None, error)
    except AskedWrongly as error:
        return Outcome(number, subject, None, BadRequest(error.message))
    except EngineError:
        logger.exception("the playground got no answer from the engine")
        return Outcome(number, subject, None, Unavailable(str(AWAY)))
