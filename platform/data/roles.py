"""What the columns of an uploaded file are, as detected and as a caller wants them; which task its rows fit."""

from collections.abc import Iterable, Mapping

from data.columns import ALLOWED, CHAT, CLASSIFICATION, NEEDED, PAIRS, task_of
from data.errors import InvalidColumns, WrongTask
from data.models import DatasetVersion, File
from inference.tasks import TEXT_GENERATION

WORDS = {
    CLASSIFICATION: "rows with a text and a label",
    CHAT: "conversations (a list of messages in each row)",
    PAIRS: "prompts with their completions",
}
"""What the rows of each kind are."""
TRAINS_ON = {CLASSIFICATION: (CLASSIFICATION,), TEXT_GENERATION: (CHAT, PAIRS)}
"""What can be trained → the kinds of rows it learns from."""


def learnt_by(kind: str, tasks: Iterable[str]) -> bool:
    """Whether one of these tasks learns from rows of a kind."""
    return any(kind in TRAINS_ON[task] for task in tasks)


def task_wanted(file: File, columns: Mapping[str, str] | None) -> str:
    """The task that the named columns make of a file, or the one detected in it. InvalidColumns for a mix of tasks."""
    if columns:
        named = [task for task, roles in NEEDED.items() if set(roles) & set(columns)]
        if len(named) > 1:
            raise InvalidColumns(
                "These columns are of several kinds of rows. Name text and label, or messages, or prompt and "
                "completion.",
                param="columns",
            )
        found = task_of(columns)
        if found is not None:
            return found
    return str(file.task or CLASSIFICATION)


def task_required(
    source: File | DatasetVersion, task: str, columns: Mapping[str, str] | None = None, *, param: str = "training_file"
) -> None:
    """WrongTask when the rows of a file or version are not what a task trains on, in words that say what it needs.

    A file that is still being checked passes: what its rows are is not known yet.
    """
    if isinstance(source, DatasetVersion):
        found, advice = source.task, "Name a version made for it, or make one from the file with those columns."
    else:
        found = task_wanted(source, columns)
        if not source.task or source.status != File.Status.PROCESSED:
            return
        names = ", ".join(str(guess["column"]) for guess in source.columns[:20])
        advice = f"Upload such a file, or name the columns that hold them; this file has: {names}."
    kinds = TRAINS_ON[task]
    if found not in kinds:
        wanted = ", or ".join(WORDS[kind] for kind in kinds)
        raise WrongTask(
            f"{task} trains on {wanted}; {source.public_id} holds {WORDS.get(found, found)}. {advice}", param=param
        )


def columns_of(file: File, chosen: Mapping[str, str] | None, *, task: str | None = None) -> dict[str, str]:
    """The columns a task takes from a file, by role, in a fixed order; InvalidColumns when they do not fit it."""
    task = task or task_wanted(file, chosen)
    known = [guess["column"] for guess in file.columns]
    roles = dict(file.roles)
    for role, column in (chosen or {}).items():
        if role not in ALLOWED[task]:
            raise InvalidColumns(
                f"“{role[:40]}” is not a column role here. Use {', '.join(ALLOWED[task])}.", param="columns"
            )
        if column not in known:
            raise InvalidColumns(
                f"There is no column “{column[:80]}” in {file.public_id}. It has: {', '.join(known[:20])}.",
                param=f"columns.{role}",
            )
    if chosen:
        check_once(chosen)
        taken = set(chosen.values())
        roles = {role: column for role, column in roles.items() if column not in taken} | dict(chosen)
    for role in NEEDED[task]:
        if role not in roles:
            raise InvalidColumns(
                f"Choose the {role} column of {file.public_id}. It has: {', '.join(known[:20])}.",
                param=f"columns.{role}",
            )
    return {role: roles[role] for role in ALLOWED[task] if role in roles}


def check_once(chosen: Mapping[str, str]) -> None:
    """InvalidColumns when one column is to be two things."""
    seen: dict[str, str] = {}
    for role, column in chosen.items():
        if column in seen:
            raise InvalidColumns(
                f"“{column[:80]}” cannot be both {seen[column]} and {role}. Choose another column for one of them.",
                param=f"columns.{role}",
            )
        seen[column] = role
