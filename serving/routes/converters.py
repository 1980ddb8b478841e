"""`{name:any}` in a path: every character, so that a bad id is refused as an id (422) and not as an address (404)."""

from starlette.convertors import Convertor, register_url_convertor


class AnyConvertor(Convertor[str]):
    """Slashes and line breaks that came percent-encoded included."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register() -> None:
    """Make `{name:any}` known; called before the first path that uses it."""
    register_url_convertor("any", AnyConvertor())
