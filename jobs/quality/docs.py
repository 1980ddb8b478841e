"""Data Docs: validation results stored as JSON per run, the static site built from the last runs.

Places: `<home>/quality/results/<run id>/<table>.json` and `<home>/data_docs/` (served by the stack). Building is kept
apart from the gate because it rebuilds every page each time.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from jobs.settings import Settings

KEPT_RUNS = 10


def results_folder(config: Settings) -> Path:
    return config.home / "quality" / "results"


def site_folder(config: Settings) -> Path:
    return config.home / "data_docs"


def store_results(config: Settings, run_id: str, results: dict[str, list[dict[str, Any]]]) -> Path:
    """Write the results of one run; the oldest runs beyond `KEPT_RUNS` are removed."""
    folder = results_folder(config) / run_id
    folder.mkdir(parents=True, exist_ok=True)
    for table, found in results.items():
        temporary = folder / f".{table}.json"
        temporary.write_text(json.dumps(found, default=str))
        temporary.replace(folder / f"{table}.json")
    runs = sorted(entry for entry in results_folder(config).iterdir() if entry.is_dir())
    for old in runs[:-KEPT_RUNS]:
        shutil.rmtree(old)
    return folder


def build_docs(config: Settings) -> Path:
    """Build the site from the stored results; returns its index page."""
    import os

    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    site = site_folder(config)
    fresh = site.with_name(".data_docs.new")
    shutil.rmtree(fresh, ignore_errors=True)
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    context.add_data_docs_site(
        site_name="sluice",
        site_config={
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(fresh)},
        },
    )
    for run in sorted(results_folder(config).glob("*")):
        for stored in sorted(run.glob("*.json")):
            for found in json.loads(stored.read_text()):
                result = ExpectationSuiteValidationResult(**_loaded(found))
                suite_name = found["suite_name"]
                context.suites.add_or_update(_suite(gx, suite_name, result))
                key = ValidationResultIdentifier(
                    expectation_suite_identifier=ExpectationSuiteIdentifier(name=suite_name),
                    run_id=RunIdentifier(run_name=run.name, run_time=_run_time(run.name)),
                    batch_identifier=suite_name,
                )
                context.validation_results_store.set(key, result)
    context.build_data_docs(site_names=["sluice"])
    old = site.with_name(".data_docs.old")
    shutil.rmtree(old, ignore_errors=True)
    if site.exists():
        site.rename(old)
    fresh.rename(site)
    shutil.rmtree(old, ignore_errors=True)
    return site / "index.html"


def _run_time(run_id: str) -> Any:
    from datetime import UTC, datetime

    return datetime.strptime(run_id, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)


def _loaded(found: dict[str, Any]) -> dict[str, Any]:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    results = []
    for item in found["results"]:
        configuration = ExpectationConfiguration(**item["expectation_config"])
        kept = {key: item[key] for key in ("success", "result", "meta", "exception_info") if key in item}
        results.append(ExpectationValidationResult(expectation_config=configuration, **kept))
    return {
        "success": found["success"],
        "results": results,
        "suite_name": found["suite_name"],
        "statistics": found["statistics"],
        "meta": found["meta"],
    }


def _suite(gx: Any, name: str, result: Any) -> Any:
    suite = gx.ExpectationSuite(name)
    for item in result.results:
        suite.add_expectation_configuration(item.expectation_config)
    return suite
