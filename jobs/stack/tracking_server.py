"""MLflow: metadata in Postgres, artefacts through the server into object storage.

Decision: `jobs.stack.mlflow_app` is the whole server. `mlflow server` starts a second process that imports the same
libraries (5 s, 0.2 GB) only to set the variables set there and to wait.
"""

import sys

from jobs.settings import Settings
from jobs.stack.credentials import secret
from jobs.stack.environment import postgres_url
from jobs.stack.launch import Launch
from jobs.stack.postgres import ensure_databases


def prepare(config: Settings) -> Launch:
    """Make sure the database is there; secrets go by environment, never on the command line."""
    ensure_databases(config)
    environment = {
        "MLFLOW_BACKEND_STORE_URI": postgres_url(config, "mlflow"),
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{config.s3_bucket}/mlflow",
        "MLFLOW_S3_ENDPOINT_URL": config.s3_url,
        "AWS_ACCESS_KEY_ID": secret(config, "s3_access_key"),
        "AWS_SECRET_ACCESS_KEY": secret(config, "s3_secret_key"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(config, "mlflow_flask_secret"),
        # Eight idle job runners otherwise: 1.6 GB.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "jobs.stack.mlflow_app", config.host, str(config.port_mlflow)]
    return Launch(command, environment)
