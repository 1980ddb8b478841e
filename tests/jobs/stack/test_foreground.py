"""Airflow's command line in the stack's environment, whatever the caller's shell holds."""

import sys
from typing import Any

import pytest

from jobs.settings import settings
from jobs.stack import foreground
from jobs.stack.__main__ import main
from jobs.stack.credentials import ensure_secrets, secret


def test_airflow_is_spoken_to_with_the_settings_and_secrets_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(foreground.os, "execvpe", lambda *what: became.append(what))
    monkeypatch.setattr(foreground.os, "chdir", lambda _: None)
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere/else")
    with pytest.raises(SystemExit, match=r"no Airflow was ever started in .*: `make up` first"):
        main(["airflow", "dags", "list"])

    ensure_secrets(settings())
    main(["airflow", "--help"])
    ((program, command, environment),) = became
    assert (program, command) == (sys.executable, [sys.executable, "-m", "airflow", "--help"])
    assert environment["AIRFLOW_HOME"] == str(settings().home / "airflow")
    password = secret(settings(), "postgres_airflow_password")
    assert password in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert password not in " ".join(command)
