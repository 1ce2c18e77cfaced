"""Findings in words: the registry's templates, translated and filled. The Django side of `data.checks.codes`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext, ngettext

from data.checks.codes import CODES

if TYPE_CHECKING:
    from data.models import Finding

SHOWN = 5


def fill(template: str, finding: "Finding") -> str:
    """A template in the reader's language with the finding's numbers in it."""
    return gettext(template) % {"count": f"{finding.count:,}", **finding.params}


def message_of(finding: "Finding") -> str:
    """What was found, in the reader's language."""
    code = CODES[finding.code]
    return ngettext(code.one, code.message, finding.count) % {"count": f"{finding.count:,}", **finding.params}


def title_of(code: str) -> str:
    """The name of a kind of problem in the reader's language; an unknown code as it is."""
    return gettext(CODES[code].title) if code in CODES else code


def words_of(finding: "Finding") -> dict[str, Any]:
    """Title, message, expected shape, hint and fix of a finding."""
    code = CODES[finding.code]
    return {
        "title": gettext(code.title),
        "message": message_of(finding),
        "expected": gettext(code.expected) if code.expected else "",
        "hint": fill(code.hint, finding),
        "fix": code.fix,
    }


def blocking_summary(file_id: str, findings: Sequence["Finding"]) -> str:
    """One message that lists what blocks training, with rows and cures."""
    lines = []
    for finding in findings[:SHOWN]:
        rows = f" Rows {', '.join(str(row) for row in finding.rows[:5])}." if finding.rows else ""
        lines.append(f"{finding.code}: {message_of(finding)}{rows} {fill(CODES[finding.code].hint, finding)}")
    more = f" And {len(findings) - SHOWN} more." if len(findings) > SHOWN else ""
    return (
        f"The file {file_id} has problems that block training. {' '.join(lines)}{more} "
        f"See GET /v1/files/{file_id}/findings for all of them and their fixes."
    )
