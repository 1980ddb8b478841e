"""`.env.example` is what the settings classes say: those of the jobs and those of the API."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from jobs.stack import env_example
from jobs.stack.env_example import CLASSES, fields, form, render


def test_file_is_up_to_date() -> None:
    assert env_example.TARGET.read_text() == render(), "run `python -m jobs.stack.env_example`"


def test_every_setting_of_every_class_has_meaning_form_and_default() -> None:
    text = render()
    for settings_class in CLASSES:
        for name, field in settings_class.model_fields.items():
            assert field.description, f"{name} has no description"
            assert len(re.findall(rf"^# SLUICE_{name.upper()}=", text, re.MULTILINE)) == 1, name


@pytest.mark.parametrize("settings_class", CLASSES)
def test_uncommented_as_it_stands_no_line_changes_a_setting(
    settings_class: type[BaseSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty password would go before the generated one, an empty home would be the checkout itself."""
    monkeypatch.delenv("SLUICE_HOME")
    file = tmp_path / "env"
    file.write_text(re.sub("^# (?=SLUICE_)", "", render(), flags=re.MULTILINE))
    defaults = settings_class(_env_file=None)  # type: ignore[call-arg]
    assert settings_class(_env_file=file) == defaults  # type: ignore[call-arg]
    for line in file.read_text().splitlines():
        if line.startswith("SLUICE_"):
            monkeypatch.setenv(line.partition("=")[0], "")
    assert settings_class(_env_file=None) == defaults, "empty in the environment"  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clock", "seeded | wall"),
        ("access_log", "true | false"),
        ("port_api", "a whole number from 1 to 65535"),
        ("release_poll_ms", "a whole number, at least 50"),
        ("home", "a path"),
        ("log_salt", "a secret; generated on first start"),
    ],
)
def test_forms_are_told_in_words(name: str, words: str) -> None:
    assert form(fields()[name]) == words


def test_a_setting_that_two_classes_read_means_the_same_in_both() -> None:
    first, second = (settings_class.model_fields for settings_class in CLASSES)
    shared = first.keys() & second.keys()
    assert {"home", "port_api", "redis_url", "redis_serving_password"} <= shared
    for name in shared:
        assert (form(first[name]), first[name].default) == (form(second[name]), second[name].default), name


def test_no_path_of_this_machine_is_in_it() -> None:
    assert str(env_example.ROOT) not in render()
