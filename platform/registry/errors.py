"""Errors of the registry."""

from kit.errors import BadRequest, Conflict, NotFound


class ModelNotFound(NotFound):
    """No model of that name for this project; the same words whether it never existed or is somebody else's."""

    default_code = "model_not_found"

    @classmethod
    def named(cls, name: object, *, param: str | None = None) -> "ModelNotFound":
        """The one wording for an unknown model."""
        return cls(
            f"The model '{str(name)[:200]}' does not exist, or your key's project may not use it. "
            "List what you have with GET /v1/models.",
            param=param,
        )


class ModelInUse(Conflict):
    """The model is being served."""

    default_code = "model_in_use"


class ModelNotDeleted(Conflict):
    """There is nothing deleted to bring back or to erase."""

    default_code = "not_deleted"


class BadArtefact(BadRequest):
    """A folder that is not the artefact it says it is; nothing of it was stored."""

    default_code = "bad_artefact"
