"""One line of search, and when a text matches."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One line: what it is called, what it is, where it is."""

    name: str
    kind: str
    icon: str
    href: str

    def as_json(self) -> dict[str, str]:
        """For the palette."""
        return {"name": self.name, "kind": self.kind, "icon": self.icon, "href": self.href}


def matches(query: str, *texts: str) -> bool:
    """Every word of the query stands in one of the texts."""
    haystack = " ".join(texts).lower()
    return all(word in haystack for word in query.lower().split())
