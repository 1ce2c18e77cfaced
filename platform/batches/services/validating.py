"""Checking a batch's file: every line, all problems at once. Then it may run, or has failed and cost nothing."""

from collections.abc import Callable, Iterator

from django.db.models.functions import Now

from batches.limits import waiting_limit
from batches.lines import Checker, Problem, split
from batches.models import Batch
from batches.selectors import waiting_tokens
from batches.services.turns import Turn, fenced_update
from kit import storage
from serving.routes import routes_of
from tenants.scope import tenant_scope
from tenants.services.organisations import tenant_turn

Keep = Callable[[], None]
"""Called between pieces of long work: keeps the turn, and raises Fenced or Stopped when it is over."""


def chunks_of(turn: Turn, keep: Keep) -> Iterator[bytes]:
    """The input file in pieces. FileNotFoundError where its bytes are gone."""
    for chunk in storage.read_chunks(turn.storage_key):
        keep()
        yield chunk


def file_check(turn: Turn, keep: Keep) -> Checker:
    """Read the whole file and remember what is wrong; memory holds one line and what is said of the others."""
    checker = Checker(turn.endpoint)
    try:
        for number, raw in split(chunks_of(turn, keep)):
            checker.take(number, raw)
            if checker.full:
                break
    except FileNotFoundError:
        checker.problems.append(Problem("invalid_file", "The file's bytes are gone from storage. Upload it again."))
        return checker
    checker.finish()
    return checker


def batch_accept(turn: Turn, checker: Checker) -> list[Problem]:
    """Let a checked batch run, unless its model cannot be called or too much waits for it: then why not."""
    routes = routes_of(tenant_id=turn.tenant_id, project_id=turn.caller.project_id)
    if checker.model not in routes:
        return [
            Problem(
                "model_not_found",
                f"The model '{checker.model[:200]}' does not exist, is not deployed, or this project may not use it. "
                "Deploy it with POST /v1/deployments and make the batch again.",
                param="body.model",
            )
        ]
    with tenant_scope(turn.tenant_id):
        tenant_turn()
        limit, waiting = waiting_limit(), waiting_tokens(checker.model)
        if waiting + checker.tokens > limit.tokens:
            return [_too_much(checker, limit.tokens, waiting, limit.plan)]
        fenced_update(
            turn,
            within=(Batch.State.VALIDATING,),
            state=Batch.State.IN_PROGRESS,
            in_progress_at=Now(),
            model=checker.model,
            total=checker.total,
            waiting_tokens=checker.tokens,
        )
    return []


def _too_much(checker: Checker, limit: int, waiting: int, plan: str) -> Problem:
    already = f"{waiting:,} wait already" if waiting else "none wait now"
    return Problem(
        "token_limit_exceeded",
        f"About {checker.tokens:,} tokens are more than may wait for '{checker.model[:200]}': {limit:,} on the {plan} "
        f"plan, of which {already}. Make it smaller, or make it again when other batches have ended.",
    )
