"""What the gateway refuses, in the words of the wire."""

from inference import errors as engine
from kit.errors import ApiError, BadRequest, NotFound, PayloadTooLarge, Unavailable


class SlowDown(Unavailable):
    """The engine's queue is full, or this process has too much to look up."""

    default_code = "slow_down"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, headers={"retry-after": str(max(1, round(retry_after)))})


class EngineAway(Unavailable):
    """The engine cannot be reached or cannot take the model in."""

    def __init__(self, message: str = "The inference engine does not answer. Try again in a moment.") -> None:
        super().__init__(message, headers={"retry-after": "1"})


class ModelStopped(Unavailable):
    """The model left the engine while it wrote."""

    default_code = "model_stopped"
    should_retry = False

    def __init__(self) -> None:
        super().__init__(
            "The model is no longer served: its deployment was stopped while it wrote. Deploy it again to go on."
        )


class Unsupported(BadRequest):
    """A field, or a kind of input, that the wire knows and nothing here could honour."""

    default_code = "unsupported_parameter"


class ModelUnknown(NotFound):
    """One wording for a model that is misspelt, not deployed, or somebody else's."""

    default_code = "model_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The model '{name[:200]}' does not exist, is not deployed, or your key's project may not use it. "
            "List what you have with GET /v1/models; deploy a model with POST /v1/deployments.",
            param="model",
        )


class ContextTooLong(BadRequest):
    """The prompt alone fills the model's context; `tokens` None: with so much that it was not counted."""

    default_code = "context_length_exceeded"

    def __init__(self, model: str, tokens: int | None, limit: int, param: str) -> None:
        has = "is longer than any that fits" if tokens is None else f"has {tokens:,} tokens"
        super().__init__(
            f"The context of '{model[:200]}' is {limit:,} tokens, for prompt and answer together; your prompt "
            f"{has}. Shorten it.",
            param=param,
        )


def from_engine(error: engine.EngineError, param: str | None = "input", *, rule: str | None = None) -> ApiError:
    """The engine's answer in the words of the API; `param` is what a bad request is about, `rule` the field that says
    what the output must be."""
    if isinstance(error, engine.Overloaded):
        return SlowDown(error.message, error.retry_after or 1.0)
    if isinstance(error, engine.TooLarge):
        return PayloadTooLarge(error.message, param=param)
    if isinstance(error, engine.BadDimensions):
        return BadRequest(error.message, param="dimensions")
    if isinstance(error, engine.BadGrammar):
        return BadRequest(error.message, param=rule or param)
    if isinstance(error, engine.BadBias):
        return BadRequest(error.message, param="logit_bias")
    if isinstance(error, engine.BadTools):
        return Unsupported(error.message, param="tools")
    if isinstance(error, engine.BadRequest):
        return BadRequest(error.message, param=param)
    if isinstance(error, engine.NoRoom):
        return EngineAway("The engine has no memory free for this model. Try again in a moment.")
    if isinstance(error, engine.NotReady):
        return EngineAway(error.message)
    if isinstance(error, engine.BadArtefact):
        return EngineAway("The model's files cannot be loaded. Deploy the model again, or write to support.")
    if isinstance(error, engine.Late):
        return EngineAway(
            "The inference engine did not finish in time. Send fewer or shorter texts in one request, or try again in "
            "a moment."
        )
    return EngineAway()
