"""The environment of services and jobs, built in one place.

Nothing of the caller's shell leaks in except what is named here: another project's SPARK_HOME, PYTHONPATH or
AIRFLOW__ variables would otherwise decide what runs.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from jobs.settings import ROOT, Settings
from jobs.stack.credentials import secret

_PASSED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "JAVA_HOME", "LD_LIBRARY_PATH",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY",
    }
)  # fmt: skip

UTF8 = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
"""Under the locale C Java finds no file whose path holds a letter beyond ASCII, its own class path included."""

STACK_MARK = "SLUICE_STACK"
SERVICE_MARK = "SLUICE_SERVICE"


def _base(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name in _PASSED or name.startswith("SLUICE_")}
    for mark in (STACK_MARK, SERVICE_MARK):
        kept.pop(mark, None)
    return kept


def job_environment(config: Settings, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every service and every job is started with (Airflow's tasks inherit it from the scheduler).

    Args:
        config: The settings.
        given: The caller's environment; default: this process's.
    """
    home = config.home.resolve()
    variables = _base(os.environ if given is None else given)
    if not os.access(variables.get("HOME", ""), os.W_OK):
        variables["HOME"] = str(home / "run")  # libraries write caches there; containers may have no home
    variables.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return variables | {
        **UTF8,
        "SLUICE_HOME": str(home),
        "TZ": "UTC",
        # Spark's workers must be this interpreter, and find the project's packages wherever they start.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        # One BLAS thread: implicit brings its own threads and is up to ten times slower when both are on.
        "OPENBLAS_NUM_THREADS": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_TRACKING_URI": config.mlflow_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_MODEL_CATALOG_URI": "",  # it otherwise asks the internet
        "GIT_PYTHON_REFRESH": "quiet",  # MLflow wants the commit; no git is no error
        "DO_NOT_TRACK": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # The stack is on loopback: a proxy of the environment must not be asked for it.
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
    }


def service_environment(config: Settings, service: str) -> dict[str, str]:
    """A job's environment with the marks by which the stack finds its own processes again."""
    return job_environment(config) | {STACK_MARK: str(config.home.resolve()), SERVICE_MARK: service}


def postgres_url(config: Settings, database: str) -> str:
    """SQLAlchemy URL of a service's own database; its role is named like the database."""
    password = secret(config, f"postgres_{database}_password")
    return f"postgresql+psycopg2://{database}:{password}@{config.host}:{config.port_postgres}/{database}"


def airflow_logs(config: Settings) -> Path:
    """Folder of the tasks' logs, and of the reader's of the DAG files."""
    return config.home.resolve() / "logs" / "airflow"


def has_airflow(config: Settings) -> bool:
    """Whether the local stack's own Airflow was ever started here: its login lies among the secrets."""
    return (config.home / "secrets" / "sluice_airflow_password").exists()


def airflow_environment(config: Settings) -> dict[str, str]:
    """Places, addresses and secrets of Airflow; everything that is the same for all is in `airflow.cfg`."""
    home = config.home.resolve()
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PARALLELISM": str(config.airflow_parallelism),
        "AIRFLOW__CORE__FERNET_KEY": secret(config, "airflow_fernet_key"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "secrets" / "airflow_passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{config.airflow_base_url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres_url(config, "airflow"),
        "AIRFLOW__API__HOST": config.host,
        "AIRFLOW__API__PORT": str(config.port_airflow),
        "AIRFLOW__API__BASE_URL": config.airflow_base_url,
        "AIRFLOW__API__SECRET_KEY": secret(config, "airflow_api_secret"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secret(config, "airflow_jwt_secret"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(airflow_logs(config)),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(airflow_logs(config) / "dag_processor"),
    }


def airflow_command(config: Settings, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Airflow's command line, and all of its environment: its settings, metadata and secrets, and none of a shell's."""
    return [sys.executable, "-m", "airflow", *arguments], job_environment(config) | airflow_environment(config)
