"""What there is to say of a Delta table before it exists."""

from dataclasses import dataclass, field
from typing import Literal

Application = Literal["batch", "stream"]
"""One driver process per application; a table is written by jobs of one application only (pitfalls: two drivers
on one Delta table on a local disk or plain S3 can both report success for the same version)."""


@dataclass(frozen=True)
class TableSpec:
    """A Delta table: its columns as DDL, its key, who writes it and how it is laid out."""

    name: str  # <layer>.<table>
    columns: str  # Spark DDL
    key: tuple[str, ...]
    writer: str  # the one job that writes (and the maintenance of `application` that optimises) it
    application: Application = "batch"
    cluster_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    layout_why: str = "small: one file per write is read faster than any layout"
    change_feed: bool = False
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def column_names(self) -> list[str]:
        return [column.split()[0] for column in self.columns.split(", ")]

    @property
    def layer(self) -> str:
        return self.name.split(".", 1)[0]

    def asset(self, domain: str) -> str:
        """Name of the Airflow asset that stands for this table in `domain`."""
        return f"{domain}.{self.name}"
