"""`sluice model list | promote | rollback`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from jobs.domain_option import DomainOption, chosen_domain
from jobs.settings import settings

app = typer.Typer(no_args_is_help=True, help="Versions of the model: list, promote by hand, go back.")
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list")
def list_models(as_json: JsonFlag = False, domain: DomainOption = "") -> None:
    """Versions, newest first: aliases, validation figures, what the gate said, what a person chose."""
    from rich.console import Console

    from jobs.registry import list_versions
    from jobs.rows_view import print_rows

    found = [asdict(one) for one in list_versions(chosen_domain(domain), settings())]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rounded = [{name: f"{one:.4f}" if isinstance(one, float) else one for name, one in row.items()} for row in found]
    print_rows(Console(), "Models", rounded)


@app.command()
def promote(
    version: str,
    reason: Annotated[str, typer.Option(help="Why the gate is overruled; kept on the version and in the log.")] = "",
    as_json: JsonFlag = False,
    domain: DomainOption = "",
) -> None:
    """Make a version champion by hand; the next publish follows."""
    from jobs.registry import promote_by_hand

    choice = promote_by_hand(chosen_domain(domain), version, reason, settings())
    print(json.dumps(asdict(choice), indent=2) if as_json else str(choice))


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept on the version and in the log.")] = "",
    as_json: JsonFlag = False,
    domain: DomainOption = "",
) -> None:
    """Go back to the champion before this one, without training; the next publish follows."""
    from jobs.registry import rollback as go_back

    choice = go_back(chosen_domain(domain), settings(), reason)
    print(json.dumps(asdict(choice), indent=2) if as_json else str(choice))
