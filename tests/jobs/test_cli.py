"""The `sluice` command: every command explains itself, reports as JSON, and errs in one sentence on standard error."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from jobs.cli import _print_rows, answer, app
from jobs.settings import ROOT, settings

WANTED = {
    "up",
    "down",
    "status",
    "logs",
    "demo",
    "ingest",
    "release",
    "quarantine",
    "sql",
    "recommend",
    "verify",
    "bench",
}
REPORTING = {
    "up", "down", "demo", "status",
    "ingest", "recommend", "similar", "bought-together", "cart", "trending", "sql", "verify", "hash", "bench",
    "evaluate", "release list", "release activate", "release rollback", "quarantine list", "quarantine replay",
    "mailing list", "mailing preview", "mailing opt-out",
}  # fmt: skip


def commands() -> dict[str, Any]:
    """Every command that can be run, by its words."""
    found: dict[str, Any] = {}

    def walk(words: tuple[str, ...], command: Any) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            found[" ".join(words)] = command
            return
        for name, child in children.items():
            walk((*words, name), child)

    walk((), get_command(app))
    return found


@pytest.fixture
def sluice() -> Callable[..., Result]:
    """Run a command in this process."""
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        env={"PATH": "/usr/bin:/bin", "SLUICE_ENV_FILE": "", "SLUICE_HOME": str(settings().home), **environment},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_release_id_can_be_copied_from_a_narrow_table(capsys: pytest.CaptureFixture[str]) -> None:
    """80 columns are a terminal's width, and a pipe's: `sluice release activate` needs the whole id."""
    wide = {"state": "previous", "as_of": "2017-11-27T05:00:00+00:00", "model_version": "12", "rolled_back": False}
    _print_rows("Releases", [{"release_id": "r-20171127T050000Z-0e9201e53c52", **wide, "created_at": wide["as_of"]}])
    shown = capsys.readouterr().out
    assert "r-20171127T050000Z-0e9201e53c52" in shown
    assert "…" not in shown, "nothing is cut"


def test_text_of_others_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A title or a sample of a rejected row may hold what the screen's markup would take for its own."""
    _print_rows("Rows", [{"sample": "[red]x[/red] [/]"}])
    assert "[red]x[/red] [/]" in capsys.readouterr().out


def test_all_promised_commands_are_there() -> None:
    assert set(get_command(app).commands) >= WANTED  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", sorted(commands()))
def test_help_says_what_a_command_and_each_option_does(words: str, sluice: Callable[..., Result]) -> None:
    done = sluice(*words.split(), "--help")
    assert done.exit_code == 0
    assert (commands()[words].help or "").strip(), "no sentence on what it does"
    assert "--help" in done.output


def test_what_reports_can_report_as_json() -> None:
    found = {words for words, command in commands().items() if any("--json" in one.opts for one in command.params)}
    assert found >= REPORTING


def test_readme_and_contributing_name_commands_that_exist() -> None:
    known, groups = set(commands()), {words.split()[0] for words in commands() if " " in words}
    for page in ("README.md", "CONTRIBUTING.md"):
        for first, second in re.findall(r"^sluice ([\w-]+)(?: (\w[\w-]*))?", (ROOT / page).read_text(), re.MULTILINE):
            assert (f"{first} {second}" if first in groups else first) in known, f"{page}: sluice {first} {second}"


def test_make_help_lists_every_target_of_the_readme() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make ([\w-]+)", done.stdout, re.MULTILINE))
    named = re.search(r"`make (setup [\w -]+)`", (ROOT / "README.md").read_text().replace("\n", " "))
    assert named is not None
    assert {*named.group(1).split(), "demo", "test"} <= listed
    assert all(re.search(rf"make {target} +\S", done.stdout) for target in listed), "a target without a word"


# On an empty platform ----------------------------------------------------------------------------------------


def test_an_empty_platform_answers_in_json(sluice: Callable[..., Result]) -> None:
    assert json.loads(sluice("quarantine", "list", "--json").output) == []
    assert json.loads(sluice("quarantine", "replay", "--json").output)["open_before"] == 0
    assert set(json.loads(sluice("hash", "--json").output).values()) == {None}
    assert json.loads(sluice("sql", "select 1 as one", "--json").output) == [{"one": 1}]
    stopped = sluice("status", "--json")
    assert stopped.exit_code == 1
    assert {row["state"] for row in json.loads(stopped.output)["services"]} == {"stopped"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("recommend", "1"), "ApiAwayError: the API does not answer at http://127.0.0.1:9: `make up`"),
        (("release", "rollback", "--json"), "ReleaseError: Redis does not answer at redis://127.0.0.1:9"),
        (("sql", "drop table silver.events"), "QueryError: `sluice sql` takes one SELECT"),
        (("sql", "drop table silver.events", "--json"), "QueryError: `sluice sql` takes one SELECT"),
        (("recommend", "1", "--json"), "ApiAwayError: the API does not answer at http://127.0.0.1:9: `make up`"),
        (("quarantine", "replay", "--table", "nothing", "--json"), "UnknownTableError: table must be one of {"),
        (("quarantine", "list", "--table", "nothing"), "UnknownTableError: table must be one of {events, files, "),
        (("ingest", "--json"), "no Airflow password: `make up` generates one"),
    ],
)
def test_an_error_is_one_line_on_standard_error_and_with_json_one_object(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SLUICE_REDIS_URL", "redis://127.0.0.1:9/0")
    assert answer(list(arguments)) == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    if "--json" in arguments:
        assert json.loads(shown.out) == {"ok": False, "error": shown.err.strip()}
    else:
        assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("evaluate", "--interactions", "/nowhere.parquet"), 2, "/nowhere.parquet"),
        (("tune", "--interactions", "/nowhere.parquet"), 2, "/nowhere.parquet"),
        (("recommend", "1", "--k", "0"), 2, "--k"),
        (("ingest", "--start", "yesterday"), 2, "a moment is ISO 8601, got 'yesterday'"),
        (("bench", "nothing"), 2, "nothing cannot be measured"),
        (("up", "--only", "nothing"), 1, "service must be one of {"),
        (("release", "list", "--domain", "nope"), 1, "domain must be one of {retail}, got 'nope'"),
        (("quarantine", "list", "--domain", "../../x"), 1, "domain must be one of {retail}"),
        (("model", "list", "--domain", "nope"), 1, "domain must be one of {retail}"),
        (("mailing", "list", "--domain", "nope"), 1, "domain must be one of {retail}"),
    ],
)
def test_wrong_input_is_an_object_too(
    arguments: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer([*arguments, "--json"]) == code
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is False
    assert said in shown["error"]
    assert answer(list(arguments)) == code
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("used", ["sys.modules['jobs.session'] = types.ModuleType('s')", "import deltalake"])
def test_a_process_ends_whose_foreign_threads_do_not(used: str) -> None:
    """The channel of a session that was closed, Arrow's readers of tables; a thread that never ends stands for them."""
    script = (
        f"import sys, threading, types; from jobs import cli; {used}; "
        "threading.Thread(target=threading.Event().wait).start(); sys.argv[1:] = ['bench', 'nothing']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert done.returncode == 2


def test_what_starts_and_stops_says_as_json_what_became_of_it(
    sluice: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: int, said: dict[str, Any]) -> int:
        print("The demo stopped: no Kafka")
        said["error"] = "no Kafka"
        return 1

    def fails(*_: object) -> int:
        raise OSError("disk on fire")

    assert json.loads(sluice("down", "--json").stdout) == {"ok": True, "killed": 0}
    refused = sluice("up", "--only", "nothing", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"].startswith("service must be one of {")
    for run_demo, error in ((stopped, "no Kafka"), (fails, "OSError: disk on fire")):
        monkeypatch.setattr("jobs.demo.run_demo", run_demo)
        code = answer(["demo", "--json"])
        assert (code, json.loads(capsys.readouterr().out)) == (1, {"ok": False, "error": error})


def test_an_interruption_is_a_json_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.demo.run_demo", interrupted)
    monkeypatch.setattr("jobs.stack.lifecycle.down", interrupted)
    for command in ("demo", "down"):
        assert answer([command, "--json"]) == 130
        assert json.loads(capsys.readouterr().out) == {"ok": False, "error": "interrupted"}
        assert answer([command]) == 130
        assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "argv", ["jobs.stack", "down", "--json"])
    monkeypatch.delitem(sys.modules, "jobs.stack.__main__")
    with pytest.raises(SystemExit, match="130"):
        runpy.run_module("jobs.stack", run_name="__main__")
    assert json.loads(capsys.readouterr().out) == {"ok": False, "error": "interrupted"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--start", "2017-11-20"), "a moment needs a time zone, got '2017-11-20'"),
        (("--end", "yesterday"), "a moment is ISO 8601, got 'yesterday'"),
        (("--start", "2017-11-21T00:00:00Z", "--end", "2017-11-20T00:00:00Z"), "--start must be before --end"),
    ],
)
def test_an_interval_that_cannot_be_never_reaches_airflow(
    arguments: tuple[str, ...], said: str, sluice: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.demo.run_ingest", lambda *_, **__: pytest.fail("triggered"))
    done = sluice("ingest", *arguments)
    assert done.exit_code == 2
    assert said in " ".join(re.sub("[│╭╮╰╯─]", " ", done.output).split())


def test_wrong_usage_is_exit_code_2_and_names_the_option(sluice: Callable[..., Result]) -> None:
    done = sluice("recommend", "1", "--k", "0")
    assert done.exit_code == 2
    assert "--k" in done.output


# Over a real Redis -------------------------------------------------------------------------------------------


@pytest.mark.services
def test_releases_are_listed_rolled_back_and_activated(
    publish: Any, redis_server: Any, sluice: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_REDIS_URL", redis_server.url)
    settings.cache_clear()
    first, second = (publish(seed=seed).manifest.release_id for seed in (1, 2))
    listed = json.loads(sluice("release", "list", "--json").output)
    assert {row["release_id"]: row["state"] for row in listed} == {first: "previous", second: "current"}
    back = json.loads(sluice("release", "rollback", "--json").output)
    assert back == {"current": first, "previous": second, "changed": True}
    forward = sluice("release", "activate", second)
    assert forward.output.strip() == f"release {second} is now current; previous: {first}"
    unknown = sluice("release", "activate", "r-20170101T000000Z-000000000000")
    assert unknown.exit_code == 1
    assert all(one in str(unknown.exception) for one in ("Redis holds: ", first, second))


@pytest.mark.services
def test_lists_are_what_the_api_serves_and_its_refusal(
    publish: Any, redis_server: Any, tmp_path: Path, sluice: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket
    import threading
    import time
    from contextlib import closing

    import uvicorn

    from serving.app import create_app
    from serving.settings import ServingSettings

    publish()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = create_app(
        ServingSettings(home=tmp_path, redis_url=redis_server.url, redis_timeout_ms=2000, access_log=False)
    )
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        address = {"SLUICE_API_URL": f"http://127.0.0.1:{port}"}
        answer = json.loads(run("recommend", "u1", "--k", "3", "--json", **address).stdout)
        table, refused = run("recommend", "u1", "--k", "3", **address), run("cart", "a/../b", **address)
        monkeypatch.setenv("SLUICE_API_URL", address["SLUICE_API_URL"])
        settings.cache_clear()
        lists = {
            words: json.loads(sluice(*words, "--k", "2", "--json").stdout)
            for words in (("similar", "i007"), ("bought-together", "i001"), ("cart", "i002", "ghost"), ("trending",))
        }
        shown = sluice("cart", "i002", "ghost")
    finally:
        server.should_exit = True
        thread.join(timeout=15)
    assert (answer["source"], answer["reason"], len(answer["items"])) == ("personal", "own_list", 3)
    assert all(item["title"] in table.stdout for item in answer["items"])
    assert refused.returncode == 1
    assert "the API refused (422): items must be 1 to 50 item ids" in refused.stderr
    assert [(one["source"], one["reason"], len(one["items"])) for one in lists.values()] == [
        ("similar", "similar_items", 2), ("similar", "bought_together", 2), ("similar", "goes_with_cart", 2),
        ("popular", "trending", 2),
    ]  # fmt: skip
    assert lists["cart", "i002", "ghost"]["unknown_items"] == ["ghost"]
    assert "unknown: ghost" in shown.stdout
