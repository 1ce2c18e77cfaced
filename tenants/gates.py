"""What higher rooms have to say before something is changed through the API. They add a gate when they are loaded; it
runs in the tenant's scope and raises an ApiError to refuse.
"""

from collections.abc import Callable

_gates: list[Callable[[str], None]] = []


def gate_add(gate: Callable[[str], None]) -> None:
    """Ask `gate(method)` before each call."""
    if gate not in _gates:
        _gates.append(gate)


def gates_pass(method: str) -> None:
    """Ask all of them."""
    for gate in _gates:
        gate(method)
