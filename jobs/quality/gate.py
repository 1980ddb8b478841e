"""The gate: runs a table's suite on a staged batch before anything of it is committed (write-audit-publish).

Great Expectations takes 7-16 s to import on a busy machine, so `Gate` starts the import in a thread while Spark works.
Row expectations run on the Spark frame (Connect or classic; its metrics are bundled into a few aggregates), profile
expectations on one row of figures. Nothing leaves the machine: analytics are off.
"""

import os
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pyspark.sql import DataFrame

from jobs.quality.suites import SUITES, Expected, Severity
from jobs.run import RefusedError

_MAX_SAMPLES = 5
MIN_SHARE_ROWS = 50
"""One product without a price among three corrected ones is no broken export; one without an id always is."""


@dataclass(frozen=True)
class Verdict:
    """What one expectation found."""

    suite: str
    expectation: str
    column: str
    severity: Severity
    success: bool
    observed: str
    threshold: str

    def __str__(self) -> str:
        return (
            f"suite {self.suite}: {self.expectation}({self.column}) observed {self.observed}, expected {self.threshold}"
        )


class GateFailedError(RefusedError):
    """Blocking expectations failed: nothing of the named tables was committed."""

    def __init__(self, failed: list[Verdict]) -> None:
        self.failed = failed
        listed = "; ".join(map(str, failed))
        super().__init__(
            f"quality gate: {listed}. Nothing of this table was committed, the last good version stays: "
            "correct the source and land it again (Data Docs shows the whole result), or take the batch as it is: "
            f"python -m jobs.run silver.refine --option accept={failed[0].suite if failed else '<table>'}"
        )


class Gate:
    """Runs suites; collects their results for Data Docs."""

    def __init__(self, mode: Literal["enforce", "report"] = "enforce", accepted: Collection[str] = ()) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        os.environ.setdefault("TQDM_DISABLE", "1")
        self.mode = mode
        self.accepted = frozenset(accepted)
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.verdicts: list[Verdict] = []
        self._context: Any = None
        self._failure: Exception | None = None
        self._batches = 0
        self._lock = threading.Lock()  # tables may be refined side by side; GX knows one validation at a time
        self._ready = threading.Thread(target=self._prepare, name="import great_expectations", daemon=True)
        self._ready.start()

    def _prepare(self) -> None:
        try:
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig

            context: Any = gx.get_context(mode="ephemeral")
            context.variables.progress_bars = ProgressBarsConfig(globally=False)
            self._context = context
        except Exception as error:  # re-raised in the job's own thread
            self._failure = error

    def check(
        self, table: str, rows: DataFrame | None, profile: Mapping[str, float | None], *, row_count: int
    ) -> list[Verdict]:
        """Run the suite of a table.

        Args:
            table: name of the silver table.
            rows: accepted rows of the batch with the columns of `suites.row_columns`; None when the batch has none.
            profile: figures of the batch by name; every figure of `suites.profile_columns` must be there.
            row_count: rows of the batch; of fewer than `MIN_SHARE_ROWS` no shares are judged.

        Returns:
            One verdict per expectation.

        Raises:
            GateFailedError: naming suite, expectation, column, observed value and threshold of each blocking
                expectation that failed; in mode `report`, and for a table that a person accepts as it is, failures
                are only recorded.
        """
        self._ready.join()
        if self._failure is not None:
            raise self._failure
        judges_shares = row_count >= MIN_SHARE_ROWS
        wanted = [item for item in SUITES[table] if judges_shares or item.arguments.get("mostly", 1.0) == 1.0]
        figures = [item for item in wanted if item.on == "profile"]
        verdicts: list[Verdict] = []
        with self._lock:
            if rows is not None:
                verdicts += self._run(table, "rows", [item for item in wanted if item.on == "rows"], rows)
            verdicts += self._run(table, "profile", figures, _one_row(table, figures, profile))
            self.verdicts += verdicts
        failed = [verdict for verdict in verdicts if not verdict.success and verdict.severity == "blocking"]
        if failed and self.mode == "enforce" and table not in self.accepted:
            raise GateFailedError(failed)
        return verdicts

    def _run(self, table: str, part: str, wanted: list[Expected], frame: Any) -> list[Verdict]:
        import great_expectations as gx

        if not wanted:
            return []
        name = f"{table}.{part}"
        expectations = [_build(item) for item in wanted]
        sources = self._context.data_sources
        self._batches += 1
        unique = f"{name}.{self._batches}"
        source = sources.add_spark(unique, persist=False) if part == "rows" else None
        source = source or sources.add_pandas(unique)
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        suite = self._context.suites.add_or_update(gx.ExpectationSuite(name, expectations=expectations))
        validation = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        self._context.validation_definitions.add_or_update(validation)
        # BOOLEAN_ONLY needs one aggregate over the batch for all its expectations; BASIC looks for samples of each,
        # which reads the whole batch once per expectation that holds: only a batch that fails is worth that
        quick: Literal["BOOLEAN_ONLY", "BASIC"] = "BOOLEAN_ONLY" if part == "rows" else "BASIC"
        found: Any = validation.run(batch_parameters={"dataframe": frame}, result_format=quick)
        if not found.success and quick != "BASIC":
            found = validation.run(batch_parameters={"dataframe": frame}, result_format="BASIC")
        self.results.setdefault(table, []).append(found.to_json_dict())
        # GX groups results by column: they are matched by the place kept in meta, not by order
        by_place = {result.expectation_config.meta["place"]: result for result in found.results}
        return [_verdict(table, item, by_place[_place(item)]) for item in wanted]

    def report(self) -> dict[str, Any]:
        """Counts, by suite too, and every failure, for the job's report."""
        failures = [asdict(verdict) for verdict in self.verdicts if not verdict.success]
        suites: dict[str, Counter[str]] = {}
        for verdict in self.verdicts:
            result = "passed" if verdict.success else verdict.severity
            suites.setdefault(verdict.suite, Counter())[result] += 1
        return {"mode": self.mode, "expectations": len(self.verdicts), "suites": suites, "failed": failures}


def _one_row(table: str, wanted: list[Expected], profile: Mapping[str, float | None]) -> Any:
    import pandas as pd

    missing = {item.column for item in wanted} - set(profile)
    if missing:
        raise KeyError(f"the profile of {table} lacks {sorted(missing)}: jobs/silver/profile.py must compute them")
    values = {item.column: profile[item.column] for item in wanted}
    return pd.DataFrame({column: pd.Series([value], dtype="float64") for column, value in values.items()})


def _place(item: Expected) -> str:
    return f"{item.on}/{item.column}/{item.expectation}/{item.severity}/{sorted(item.arguments.items(), key=str)}"


def _build(item: Expected) -> Any:
    import great_expectations.expectations as gxe

    kind = "".join(part.capitalize() for part in item.expectation.split("_"))
    meta = {"severity": item.severity, "why": item.why, "place": _place(item)}
    severity = "critical" if item.severity == "blocking" else "warning"
    return getattr(gxe, kind)(column=item.column, meta=meta, severity=severity, **item.arguments)


def _verdict(table: str, item: Expected, result: Any) -> Verdict:
    found = result.result or {}
    if result.exception_info and not result.success and not found:
        observed = f"an error: {str(result.exception_info)[:300]}"
    elif item.on == "profile":
        sample = found.get("partial_unexpected_list") or []
        observed = f"{sample[0]:.4g}" if sample else "as expected"
    elif result.success:
        observed = "as expected"
    else:
        observed = (
            f"{found.get('unexpected_percent') or 0:.2f} % of {found.get('element_count')} rows unexpected "
            f"({found.get('partial_unexpected_list', [])[:_MAX_SAMPLES]})"
        )
    return Verdict(
        suite=table,
        expectation=item.expectation,
        column=item.column,
        severity=item.severity,
        success=bool(result.success),
        observed=observed,
        threshold=", ".join(f"{key}={value}" for key, value in item.arguments.items() if value is not None) or "all",
    )
