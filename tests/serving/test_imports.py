"""The serving image holds the `serving` extra alone: nothing of the offline plane may be imported by the API."""

import subprocess
import sys
from pathlib import Path

OFFLINE = (
    "scipy", "pandas", "pyarrow", "sklearn", "lightgbm", "implicit", "pyspark", "delta", "deltalake", "mlflow",
    "airflow", "boto3", "great_expectations", "jobs", "dags",
)  # fmt: skip


def test_the_api_loads_nothing_of_the_offline_plane() -> None:
    asked = f"import sys, serving.app, serving.__main__; print([m for m in {OFFLINE!r} if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", asked], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
