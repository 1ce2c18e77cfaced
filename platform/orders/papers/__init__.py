"""The papers of a contract: immutable versions in files beside this one, each with its hash in SHA256SUMS.

A published version never changes: a new wording is a new file and a new line. A contract names version and hash.
"""

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from kit.errors import NotFound

FOLDER = Path(__file__).resolve().parent
KINDS = ("terms", "dpa")
_NAME = re.compile(r"(terms|dpa)-(\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Paper:
    """One version of one document."""

    kind: str
    version: int
    text: str
    sha256: str

    @property
    def name(self) -> str:
        """As addresses say it: `terms-1`."""
        return f"{self.kind}-{self.version}"

    @property
    def heading(self) -> str:
        """Its first line."""
        return self.text.splitlines()[0].removeprefix("# ")


@functools.cache
def papers() -> dict[str, Paper]:
    """Every version by name. Raises ValueError when a file is not what its line in SHA256SUMS says."""
    found = {}
    for line in (FOLDER / "SHA256SUMS").read_text().splitlines():
        wanted, name = line.split()
        raw = (FOLDER / name).read_bytes()
        if hashlib.sha256(raw).hexdigest() != wanted:
            raise ValueError(f"{name} was changed after it was published. Make a new version instead.")
        kind, version = name.removesuffix(".md").rsplit("-", 1)
        found[name.removesuffix(".md")] = Paper(kind, int(version), raw.decode(), wanted)
    return found


def current(kind: str) -> Paper:
    """The newest version of a kind."""
    return max((paper for paper in papers().values() if paper.kind == kind), key=lambda paper: paper.version)


def paper_named(name: str) -> Paper:
    """One version by its name; NotFound for a name nobody gave."""
    if _NAME.fullmatch(name) is None or name not in papers():
        raise NotFound.of(name)
    return papers()[name]
