"""`.env.example` is what the settings say."""

from jobs.settings import Settings
from jobs.stack import env_example


def test_file_is_up_to_date() -> None:
    assert env_example.TARGET.read_text() == env_example.render(), "run `python -m jobs.stack.env_example`"


def test_every_setting_has_meaning_form_and_default() -> None:
    text = env_example.render()
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert f"# SLUICE_{name.upper()}=" in text


def test_no_path_of_this_machine_is_in_it() -> None:
    assert str(env_example.ROOT) not in env_example.render()
