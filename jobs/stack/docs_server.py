"""Serves a folder of pages on loopback, and beside it keeps the services' logs short: one small process for both.

`python docs_server.py <host> <port> <pages> <logs>`. Standard library only: it runs all the time.
"""

import functools
import os
import shutil
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MAX_LOG_BYTES = 20_000_000
_LOOK_SECONDS = 30.0


def trim_logs(folder: Path, limit: int = MAX_LOG_BYTES) -> list[Path]:
    """Copy logs beyond `limit` bytes to `<name>.log.1` and empty them in place (their writers append); returns them."""
    trimmed = []
    for path in sorted(folder.glob("*.log")):
        if path.stat().st_size > limit:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)
            trimmed.append(path)
    return trimmed


def _keep_short(folder: Path) -> None:
    while True:
        try:
            trim_logs(folder)
        except OSError as problem:  # a full disk: say so and try again, the pages go on
            print(f"logs of {folder} could not be shortened: {problem}", flush=True)
        time.sleep(_LOOK_SECONDS)


def serve(host: str, port: int, pages: Path, logs: Path) -> None:
    """Serve until the process is ended."""
    threading.Thread(target=_keep_short, args=(logs,), daemon=True).start()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(pages))
    with ThreadingHTTPServer((host, port), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
