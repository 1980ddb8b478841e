"""The `sluice` command: one front door to the platform. Thin: each command calls the module that owns its subject."""

import json
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer import rich_utils

from jobs.clock import parse_moment
from jobs.domain_option import DomainOption, chosen_domain
from jobs.evaluate.command import evaluate, quality
from jobs.failure_view import INTERRUPTED, print_failure, tell_failure
from jobs.list_commands import bought_together, cart, recommend, similar, trending
from jobs.mailing_commands import app as mailing_app
from jobs.registry_commands import app as model_app
from jobs.rows_view import print_rows
from jobs.settings import ROOT, reach_own_services_directly, settings
from jobs.tune_command import tune

if TYPE_CHECKING:
    from jobs.releases import PointerMove

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sluice: a recommendation platform on one machine.")
release_app = typer.Typer(no_args_is_help=True, help="Releases in Redis: list, activate, roll back.")
quarantine_app = typer.Typer(no_args_is_help=True, help="Rejected rows: list them, take them in again.")
app.add_typer(release_app, name="release")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(model_app, name="model")
app.add_typer(mailing_app, name="mailing")

console = Console(stderr=False)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def _print_json(value: Any) -> None:
    print(json.dumps(value, default=str, indent=2, allow_nan=False))


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    print_rows(console, title, rows)


# The stack ------------------------------------------------------------------------------


@app.command()
def up(
    only: Annotated[str, typer.Option(help="Comma-separated services; default: all.")] = "", as_json: JsonFlag = False
) -> None:
    """Start the local stack (idempotent): finds what still runs, ends with exactly one of each."""
    raise typer.Exit(_stack("up", *(["--only", only] if only else []), *_json(as_json)))


@app.command()
def down(as_json: JsonFlag = False) -> None:
    """Stop the local stack; nothing is lost."""
    raise typer.Exit(_stack("down", *_json(as_json)))


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Services, ports, memory (PSS), addresses and logins."""
    raise typer.Exit(_stack("status", *_json(as_json)))


@app.command()
def logs(service: Annotated[str, typer.Argument(help="Service; default: all.")] = "") -> None:
    """Follow the logs of one service or all."""
    raise typer.Exit(_stack("logs", *([service] if service else [])))


def _json(as_json: bool) -> list[str]:
    return ["--json"] if as_json else []


def _stack(*arguments: str) -> int:
    from jobs.stack.__main__ import main

    return int(main(list(arguments)) or 0)


# The pipeline ---------------------------------------------------------------------------


@app.command()
def demo(
    weeks: Annotated[int, typer.Option(min=10, max=48, help="Weeks of history, the last ones; 48 is all.")] = 48,
    as_json: JsonFlag = False,
) -> None:
    """Set everything up, run the pipeline through Airflow, show lists and links."""
    from jobs.demo import run_demo

    said: dict[str, Any] = {}
    progress: AbstractContextManager[Any] = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with progress:
        code = run_demo(weeks, said)
    if as_json:
        _print_json({"ok": code == 0, **said})
    raise typer.Exit(code)


@app.command()
def ingest(
    start: Annotated[str, typer.Option(help="Only dumps of days from here on (ISO 8601); empty: what is new.")] = "",
    end: Annotated[str, typer.Option(help="Only dumps of days before it (ISO 8601).")] = "",
    follow: Annotated[bool, typer.Option(help="Follow the chain to its end.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Land new dumps and events through Airflow and let the chain follow; events of Kafka whatever their time."""
    from jobs.demo import run_ingest

    moments = [_moment(name, value) for name, value in (("--start", start), ("--end", end)) if value]
    if len(moments) == 2 and moments[0] >= moments[1]:
        raise typer.BadParameter(f"--start must be before --end, got {start} and {end}")
    conf = {key: value for key, value in (("start", start), ("end", end)) if value}
    run_ingest(conf, follow=follow, as_json=as_json)


def _moment(name: str, text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as problem:
        raise typer.BadParameter(str(problem), param_hint=name) from None


for list_command in (recommend, similar, bought_together, cart, trending):
    app.command()(list_command)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT; tables are named layer.table, for example silver.events.")],
    as_json: JsonFlag = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    domain: DomainOption = "",
) -> None:
    """Read-only SQL over the lake, without Spark."""
    from jobs.sql import run_query

    found = run_query(query, domain=chosen_domain(domain), limit=limit + 1)
    rows, is_cut = found[:limit], len(found) > limit
    _print_json(rows) if as_json else _print_rows(f"{'the first ' if is_cut else ''}{len(rows)} rows", rows)
    if is_cut:
        print(f"there are more rows than --limit {limit}: raise it (up to 10000), or ask for less", file=sys.stderr)


@app.command()
def verify(as_json: JsonFlag = False, domain: DomainOption = "") -> None:
    """Check the invariants: nothing lost, silver unique and rebuildable, one release, served. Exit 1 when one fails."""
    from dataclasses import asdict

    from jobs.verify import run_checks

    checks = run_checks(chosen_domain(domain), settings(), lambda text: print(text, file=sys.stderr, flush=True))
    failed = [check for check in checks if not check.ok]
    if as_json:
        _print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        _print_rows("Invariants", [asdict(check) for check in checks])
    raise typer.Exit(1 if failed else 0)


@app.command("hash")
def hash_tables(
    tables: Annotated[list[str] | None, typer.Argument(help="layer.table names; none: all.")] = None,
    as_json: JsonFlag = False,
    domain: DomainOption = "",
) -> None:
    """Fingerprints of tables, wall time left out: equal in two lakes that hold the same rows, whatever their order."""
    from jobs.lake import Lake
    from jobs.verify.fingerprints import fingerprints

    found = fingerprints(Lake.of(chosen_domain(domain)), tables or ())
    _print_json(found) if as_json else _print_rows(
        "Tables", [{"table": name, "rows:hash": one} for name, one in found.items()]
    )


@app.command()
def bench(
    what: Annotated[
        str, typer.Argument(help="pipeline | all (the API too) | index (no stack) | scale (more users, on a cluster)")
    ] = "all",
    *,
    readme: Annotated[
        bool, typer.Option(help="Write the README's table; of index: models/README.md; of scale: jobs/SCALE.md.")
    ] = False,
    vectors: Annotated[int, typer.Option(min=2000, help="index: how many synthetic vectors.")] = 1_000_000,
    sizes: Annotated[str, typer.Option(help="scale: how many times the real number of users.")] = "1,3,10",
    weeks: Annotated[int, typer.Option(min=7, max=48, help="scale: weeks of history of each user.")] = 48,
    add: Annotated[bool, typer.Option(help="scale: keep what the last run measured of other sizes.")] = False,
    repeat: Annotated[int, typer.Option(min=1, max=9, help="pipeline, all: passes whose medians are shown.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Measure the pipeline's stages, memory and the API on a stack of its own (ten minutes), the indexes, or scale."""
    known = ("pipeline", "all", "index", "scale")
    if what not in known:
        raise typer.BadParameter(f"{what} cannot be measured; one of {', '.join(known)} can")
    if what == "index":
        from jobs.bench_index import run_index_bench

        raise typer.Exit(run_index_bench(vectors, as_json=as_json, readme=readme))
    if what == "scale":
        from jobs.scale.bench import parse_sizes, run_to_end

        raise typer.Exit(run_to_end(parse_sizes(sizes), weeks, as_json=as_json, readme=readme, add=add))
    from jobs.bench import run_bench

    raise typer.Exit(run_bench(what, as_json=as_json, readme=readme, repeat=repeat))


app.command("evaluate")(evaluate)
app.command("quality")(quality)
app.command("tune")(tune)


# Releases and quarantine -----------------------------------------------------------------


@release_app.command("list")
def release_list(as_json: JsonFlag = False, domain: DomainOption = "") -> None:
    """Releases that Redis holds, newest first; which one is current."""
    from dataclasses import asdict

    from jobs.releases import list_releases

    rows = [asdict(release) for release in list_releases(chosen_domain(domain), settings())]
    _print_json(rows) if as_json else _print_rows("Releases", rows)


@release_app.command("activate")
def release_activate(release_id: str, as_json: JsonFlag = False, domain: DomainOption = "") -> None:
    """Make a release current: one atomic pointer change, after its hashes and counts were checked."""
    from jobs.releases import activate

    _print_move(activate(chosen_domain(domain), release_id, settings()), as_json=as_json)


@release_app.command("rollback")
def release_rollback(as_json: JsonFlag = False, domain: DomainOption = "") -> None:
    """Go back to the previous release."""
    from jobs.releases import rollback

    _print_move(rollback(chosen_domain(domain), settings()), as_json=as_json)


def _print_move(move: "PointerMove", *, as_json: bool) -> None:
    from dataclasses import asdict

    _print_json(asdict(move)) if as_json else console.print(str(move), highlight=False, soft_wrap=True)


TableOption = Annotated[str, typer.Option("--table", help="Silver table; default: all.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Only rows rejected for this reason.")]


@quarantine_app.command("list")
def quarantine_list(
    table: TableOption = "", reason: ReasonOption = "", as_json: JsonFlag = False, domain: DomainOption = ""
) -> None:
    """Rejected rows by table and reason, with samples; dump files that were refused whole by name (`--table files`)."""
    from dataclasses import asdict

    from jobs.quarantine import list_rejections, print_rejections

    found = list_rejections(chosen_domain(domain), settings(), table=table, reason=reason)
    _print_json([asdict(row) for row in found]) if as_json else print_rejections(console, found)


@quarantine_app.command("replay")
def quarantine_replay(
    table: TableOption = "", reason: ReasonOption = "", as_json: JsonFlag = False, domain: DomainOption = ""
) -> None:
    """Run today's rules over rejected rows again; what passes goes to silver."""
    from jobs.quarantine import replay

    report = replay(chosen_domain(domain), settings(), table=table, reason=reason)
    _print_json(report) if as_json else _print_rows("Replayed", [report])


_INTERRUPTED_CODE = 130
"""What typer makes of Ctrl-C."""
_OURS = ("jobs", "serving", "models", "features")


def _is_on_purpose(error: Exception) -> bool:
    """Whether it is an error class of the project, or a built-in one that the project's own line raised."""
    if type(error).__module__.split(".")[0] in _OURS:
        return True
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    own = any(raised_in.is_relative_to(ROOT / name) for name in _OURS)
    return own and isinstance(error, ValueError | ConnectionError)


def answer(arguments: list[str]) -> int:
    """Run a command; the exit code. An error raised on purpose is its message, wrong usage too, else a traceback."""
    as_json = "--json" in arguments
    try:
        code = int(app(arguments, standalone_mode=False) or 0)
        if code == _INTERRUPTED_CODE and as_json:
            tell_failure(INTERRUPTED, as_json=True)
        return code
    except typer.TyperException as wrong:
        rich_utils.rich_format_error(wrong)  # type: ignore[arg-type]  # its subclasses for wrong usage are private
        if as_json:
            print_failure(wrong.format_message())
        return wrong.exit_code
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        if _is_on_purpose(error):
            tell_failure(said, as_json=as_json)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
            if as_json:
                print_failure(said)
        return 1


def main() -> NoReturn:
    """Entry point."""
    sys.path.insert(0, str(ROOT))
    reach_own_services_directly()
    code = answer(sys.argv[1:])
    # A session of Spark Connect was opened, or a table read by threads that are not Python's: one of them that comes
    # back into an interpreter which is ending aborts the process ("terminate called …", 134, its answer complete)
    if {"jobs.session", "deltalake"} & sys.modules.keys():
        from jobs.run import leave

        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
