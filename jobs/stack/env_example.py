"""`.env.example`, generated from the settings classes: meaning, forms and default of every setting.

`python -m jobs.stack.env_example` writes it; a test compares the file with what would be written. The serving image
has a settings class of its own; this is the one place that looks at both.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from jobs.settings import ROOT, Settings
from serving.settings import ServingSettings

TARGET = ROOT / ".env.example"
CLASSES: tuple[type[BaseSettings], ...] = (Settings, ServingSettings)
"""A setting that several classes read is described by the first."""

_HEADER = """\
# Every setting of Sluice with its default. Copy to .env, uncomment what you change; the environment goes first.
# Written by `python -m jobs.stack.env_example` from jobs/settings.py and serving/settings.py; do not edit.
"""


def _bounds(field: FieldInfo) -> str:
    """Limits of a number, in words."""
    low = next((one.ge for one in field.metadata if hasattr(one, "ge")), None)
    high = next((one.le for one in field.metadata if hasattr(one, "le")), None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f", at least {low}" if low is not None else ""


def form(field: FieldInfo) -> str:
    """What may be written there, in words."""
    annotation: Any = field.annotation
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    if annotation is bool:
        return "true | false"
    if annotation is int:
        return f"a whole number{_bounds(field)}"
    if annotation is Path:
        return "a path"
    if SecretStr in (annotation, *get_args(annotation)):
        return "a secret; generated on first start"
    return "text"


def _default(field: FieldInfo) -> str:
    """The default as text; paths relative to the checkout, so that the file is the same everywhere."""
    value = field.default
    if isinstance(value, Path):
        return str(value.relative_to(ROOT)) if value.is_relative_to(ROOT) else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def fields() -> dict[str, FieldInfo]:
    """Every setting by the name of its field, in the order of the file."""
    found: dict[str, FieldInfo] = {}
    for settings_class in CLASSES:
        for name, field in settings_class.model_fields.items():
            found.setdefault(name, field)
    return found


def render() -> str:
    """The whole file."""
    blocks = [
        f"# {field.description} ({form(field)})\n# SLUICE_{name.upper()}={_default(field)}"
        for name, field in fields().items()
    ]
    return _HEADER + "\n" + "\n\n".join(blocks) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file."""
    argparse.ArgumentParser(
        prog="python -m jobs.stack.env_example",
        description="Write .env.example anew from the settings classes.",
    ).parse_args(arguments)
    TARGET.write_text(render())


if __name__ == "__main__":
    main()
