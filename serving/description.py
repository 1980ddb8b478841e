"""openapi.json: what FastAPI draws up from the routes, and what it cannot know of them."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI

from serving.problems import ProblemResponse

_ERRORS = "45"


class DescribedAPI(FastAPI):
    """An application whose description says of errors and surfaces what the wire does."""

    surfaces: Sequence[str] = ()
    """Values of every parameter `surface`: those of the domain."""

    def openapi(self) -> dict[str, Any]:
        """The description, drawn up once."""
        is_new = self.openapi_schema is None
        described: dict[str, Any] = super().openapi()  # which keeps it
        operations = [one for path in described["paths"].values() for one in path.values()] if is_new else []
        for operation in operations:
            _as_problems(operation)
            self._name_surfaces(operation)
        return described

    def _name_surfaces(self, operation: dict[str, Any]) -> None:
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "surface":
                parameter["schema"]["enum"] = list(self.surfaces)


def _as_problems(operation: dict[str, Any]) -> None:
    """Errors are application/problem+json; an operation without parameters refuses none."""
    responses = operation["responses"]
    if not operation.get("parameters"):
        responses.pop("422", None)
    for status, response in responses.items():
        if status[0] in _ERRORS and "content" in response:
            (shape,) = response["content"].values()
            response["content"] = {ProblemResponse.media_type: shape}
