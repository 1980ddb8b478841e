"""The two HTTP services of our own: Data Docs (static pages) and the serving API."""

import sys
from pathlib import Path

from jobs.batch_metrics import metrics_file
from jobs.settings import Settings
from jobs.stack.credentials import secret
from jobs.stack.launch import Launch, private_folder

_EMPTY = """<!doctype html>
<title>Data Docs</title>
<h1>Data Docs</h1>
<p>No validation has run yet. They are written here by the refine job: run <code>make demo</code>.</p>
"""


def prepare_docs(config: Settings) -> Launch:
    """Serve the folder of Data Docs; until the first validation it says that there is none."""
    folder = private_folder(config.home.resolve() / "data_docs")
    index = folder / "index.html"
    if not index.exists():
        index.write_text(_EMPTY)
    # As a file, not as a module of this package: it needs nothing that the package imports, and stays small.
    server = Path(__file__).with_name("docs_server.py")
    command = [sys.executable, "-P", str(server), config.host, str(config.port_docs)]
    home = config.home.resolve()
    return Launch([*command, str(folder), str(home / "logs"), str(metrics_file(config).resolve())])


def prepare_api(config: Settings) -> Launch:
    """The serving API: Redis and its own memory, nothing else."""
    environment = {
        "SLUICE_HOST": config.host,
        "SLUICE_PORT_API": str(config.port_api),
        "SLUICE_REDIS_URL": config.redis_base_url,
        "SLUICE_REDIS_SERVING_PASSWORD": secret(config, "redis_serving_password"),
    }
    # `python -m serving`, not bare uvicorn: it drains within 8 s of SIGTERM and writes no log line with a user id.
    return Launch([sys.executable, "-m", "serving"], environment)
