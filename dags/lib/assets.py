"""Assets: one per table of the catalog, named like the table. An asset event is only a doorbell."""

from airflow.sdk import Asset

from jobs.catalog import JobSpec, table

DOMAIN = "retail"
"""The domain these DAGs run for; a second domain gets DAGs of its own from the same jobs."""


def asset(name: str, domain: str = DOMAIN) -> Asset:
    """The asset of `<layer>.<table>`; raises `jobs.catalog.UnknownNameError` for a table that does not exist."""
    qualified = table(name).asset(domain)
    return Asset(name=qualified, uri=f"sluice://{qualified.replace('.', '/')}")


def outlets(spec: JobSpec, domain: str = DOMAIN) -> list[Asset]:
    """Assets of every table that a job writes."""
    return [asset(name, domain) for name in spec.writes]


MODEL = Asset(name=f"{DOMAIN}.model.champion", uri=f"sluice://{DOMAIN}/model/champion")
RELEASE = Asset(name=f"{DOMAIN}.release.current", uri=f"sluice://{DOMAIN}/release/current")
