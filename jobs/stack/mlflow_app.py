"""The process of the MLflow server: `python -m jobs.stack.mlflow_app <host> <port>`, configured by its environment."""

import os
import sys


def serve(host: str, port: int) -> None:
    """Migrate the schema when needed, then serve until told to stop."""
    from mlflow.server import constants

    backend = os.environ["MLFLOW_BACKEND_STORE_URI"]
    root = "mlflow-artifacts:/"
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = backend
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = backend
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = root
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the server is nobody's client

    import uvicorn
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(backend, backend, root)
    uvicorn.run("mlflow.server.fastapi_app:app", host=host, port=port, log_level="warning")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
