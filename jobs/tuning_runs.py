"""The trials of a search in MLflow, nested in one run that a search goes on with."""

from collections.abc import Mapping
from typing import Any

from jobs.settings import Settings
from jobs.tracking import client


class TuningRuns:
    """Trials of a search as runs nested in one parent run; the parent of equal data is found again and goes on."""

    def __init__(self, domain: str, config: Settings, fingerprint: str) -> None:
        self._client = client(config)
        name = f"{domain}-tuning"
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        known = self._client.search_runs(
            [self._experiment], filter_string=f"tags.fingerprint = '{fingerprint}'", max_results=1
        )
        parent = (
            known[0]
            if known
            else self._client.create_run(
                self._experiment, run_name=f"tuning {fingerprint[:8]}", tags={"fingerprint": fingerprint}
            )
        )
        self.run_id: str = parent.info.run_id

    def trial(self, part: str, number: int, settings: Mapping[str, Any], value: float, seconds: float) -> None:
        """One trial as a nested run."""
        tags = {"mlflow.parentRunId": self.run_id, "part": part}
        run = self._client.create_run(self._experiment, run_name=f"{part} {number}", tags=tags).info.run_id
        for name, setting in settings.items():
            self._client.log_param(run, name, setting)
        self._client.log_metric(run, "value", value)
        self._client.log_metric(run, "seconds", seconds)
        self._client.set_terminated(run)

    def finish(self, metrics: dict[str, float], tags: dict[str, str], artefact: dict[str, Any]) -> None:
        """Close the parent with the outcome; `artefact` becomes its recipe.json."""
        for name, value in metrics.items():
            self._client.log_metric(self.run_id, name, value)
        for name, text in tags.items():
            self._client.set_tag(self.run_id, name, text)
        self._client.log_dict(self.run_id, artefact, "recipe.json")
        self._client.set_terminated(self.run_id)
