"""Ops: what the platform keeps of its own doing."""

from jobs.lake_tables.spec import TableSpec

OPS_DRIFT = TableSpec(
    name="ops.drift",
    columns="as_of TIMESTAMP NOT NULL, model_version STRING NOT NULL, level STRING NOT NULL, name STRING NOT NULL, "
    "psi DOUBLE, rows BIGINT NOT NULL, reference_rows BIGINT NOT NULL",
    key=("as_of", "model_version", "level", "name"),
    writer="evaluate.report_quality",
)

OPS_MAILINGS = TableSpec(
    name="ops.mailings",
    columns="week INT NOT NULL, as_of TIMESTAMP NOT NULL, channel STRING NOT NULL, user_id STRING NOT NULL, "
    "rank INT NOT NULL, item_id STRING NOT NULL, kind STRING NOT NULL, reason STRING NOT NULL, "
    "model_version STRING NOT NULL, release_id STRING NOT NULL",
    key=("week", "channel", "user_id", "rank"),
    writer="publish.prepare_mailings",
    partition_by=("week",),
    layout_why="a run replaces its own week (`replaceWhere week`) and fatigue reads the weeks just before it",
)
