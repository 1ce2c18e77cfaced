"""Names of models and aliases. No Django.

`ft:<base>:<org>:<suffix>:<id>` is the field's own form; the id is eight base32 characters of the job that made it.
"""

import re
from uuid import UUID

from kit.ids import encode

LONGEST = 255
SUFFIX = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
SUFFIX_RULE = "1 to 64 letters, digits, dots, dashes or underscores, beginning and ending with a letter or digit"
ALIAS = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)@([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)")
ALIAS_RULE = "name@stage, both of lower-case letters, digits and dashes, such as triage@prod"


def model_name(*, base: str, tenant_slug: str, suffix: str, job_id: UUID) -> str:
    """The name of what a job makes."""
    return f"ft:{base}:{tenant_slug}:{suffix}:{encode(job_id)[-8:]}"


def split_alias(text: str) -> tuple[str, str] | None:
    """(name, stage) of an alias, or None when the text is not one."""
    match = ALIAS.fullmatch(text)
    return (match[1], match[2]) if match else None
