"""Everything the engine can answer instead of a result, as one family.

Each class carries the code that travels on the wire, so an error raised in the engine is raised again, as the same
class, in the client.
"""

from __future__ import annotations


class EngineError(Exception):
    """Root of the family. `retry_after` is in seconds; None means that trying the same call again cannot help."""

    code = "internal"
    untouched = False
    """Whether nothing was computed for sure, so that asking another engine cannot compute anything twice."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class BadRequest(EngineError):
    """The message is well formed but asks for something impossible."""

    code = "bad_request"


class TooLarge(BadRequest):
    """A frame, a list of texts or a text is over its limit."""

    code = "too_large"


class BadDimensions(BadRequest):
    """Vectors of this length cannot be had from this model."""

    code = "bad_dimensions"


class BadGrammar(BadRequest):
    """The schema or regular expression that the output shall fit."""

    code = "bad_grammar"


class BadBias(BadRequest):
    """A bias for a token that is not in the vocabulary."""

    code = "bad_bias"


class BadTools(BadRequest):
    """Tools for a model whose chat template has no place for them."""

    code = "bad_tools"


class NotResident(EngineError):
    """This tenant has no such model in memory: send `load`, then ask again."""

    code = "not_resident"
    untouched = True


class BadArtefact(EngineError):
    """The artefact folder is damaged, incomplete or not what its manifest says."""

    code = "bad_artefact"


class NoRoom(EngineError):
    """The model does not fit in the memory that this tenant may use."""

    code = "no_room"


class Overloaded(EngineError):
    """The queue is full; refused at the door, nothing was computed."""

    code = "overloaded"
    untouched = True


class Draining(EngineError):
    """This engine is about to leave and takes nothing new; another one may."""

    code = "draining"
    untouched = True


class Unauthorised(EngineError):
    """The shared token or the protocol version of the peer is wrong."""

    code = "unauthorised"
    untouched = True


class Cancelled(EngineError):
    """The caller gave up before the work was done."""

    code = "cancelled"


class Unavailable(EngineError):
    """The engine cannot be reached, closed the connection, or did not answer in time."""

    code = "unavailable"


class Late(Unavailable):
    """It was there, and took longer than the caller waits: for what was asked, perhaps, whoever asks."""


class Unreachable(Unavailable):
    """No connection could be opened, so nothing was asked."""

    code = "unreachable"
    untouched = True


class NotReady(Unavailable):
    """What computes this one base is not there at the moment; nothing was asked of it, and the engine is well."""

    code = "not_ready"
    untouched = True


class Internal(EngineError):
    """A fault of the engine itself; the details are in its log."""

    code = "internal"


_FAMILY: tuple[type[EngineError], ...] = (
    BadRequest, BadDimensions, BadGrammar, BadBias, BadTools, TooLarge, NotResident, BadArtefact, NoRoom, Overloaded,
    Draining, Unauthorised, Cancelled, Unavailable, Unreachable, NotReady, Internal,
)  # fmt: skip
_BY_CODE = {error.code: error for error in _FAMILY}


def from_code(code: str, message: str, retry_after: float | None = None) -> EngineError:
    """Rebuild the error that the engine sent; an unknown code becomes `Internal`."""
    return _BY_CODE.get(code, Internal)(message, retry_after=retry_after)
