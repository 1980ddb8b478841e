"""`.env.example`, generated from the settings class: meaning, forms and default of every setting.

`python -m jobs.stack.env_example` writes it; a test compares the file with what would be written.
"""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from jobs.settings import ROOT, Settings

TARGET = ROOT / ".env.example"
_HEADER = """\
# Every setting of Sluice with its default. Copy to .env, uncomment what you change; the environment goes first.
# Written by `python -m jobs.stack.env_example` from jobs/settings.py; do not edit.
"""


def _form(annotation: Any) -> str:
    """What may be written there, in words."""
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    if annotation is int:
        return "a whole number"
    if annotation is Path:
        return "a path"
    if SecretStr in (annotation, *get_args(annotation)):
        return "a secret"
    return "text"


def _default(field: FieldInfo) -> str:
    """The default as text; paths relative to the checkout, so that the file is the same everywhere."""
    value = field.default
    if isinstance(value, Path):
        return str(value.relative_to(ROOT)) if value.is_relative_to(ROOT) else str(value)
    return "" if value is None else str(value)


def render() -> str:
    """The whole file."""
    blocks = [
        f"# {field.description} ({_form(field.annotation)})\n# SLUICE_{name.upper()}={_default(field)}"
        for name, field in Settings.model_fields.items()
    ]
    return _HEADER + "\n" + "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render())
