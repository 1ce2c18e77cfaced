"""Models."""

from tests.conftest import Person
from tests.isolation.routes import Ids, Policy
from tests.registry.making import make_model


def _model(person: Person) -> Ids:
    return {"model": make_model(person).model.name}


POLICIES: dict[str, Policy] = {
    "v1/models": Policy("api", success={"GET": 200}),
    "v1/models/<path:model>": Policy("api", make=_model, success={"GET": 200, "DELETE": 200}),
}
