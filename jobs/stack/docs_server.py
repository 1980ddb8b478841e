"""Serves a folder of pages and the batch jobs' metrics on loopback, and keeps the services' logs short: one process.

`python docs_server.py <host> <port> <pages> <logs> <metrics>`. Standard library only: it runs all the time.
"""

import errno
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
    """Copy logs beyond `limit` bytes to `<name>.log.1` and empty them in place (their writers append); returns them.

    Without the copy where the disk has no room for it: that is when emptying them matters.
    """
    trimmed = []
    for path in sorted(folder.glob("*.log")):
        if path.stat().st_size > limit:
            _copy_if_there_is_room(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)
            trimmed.append(path)
    return trimmed


def _copy_if_there_is_room(log: Path, copy: Path) -> None:
    try:
        shutil.copyfile(log, copy)
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        copy.unlink(missing_ok=True)
        print(f"{log} is emptied without a copy: {problem.strerror}", flush=True)


def _keep_short(folder: Path) -> None:
    while True:
        try:
            trim_logs(folder)
        except OSError as problem:  # say so and try again, the pages go on
            print(f"logs of {folder} could not be shortened: {problem}", flush=True)
        time.sleep(_LOOK_SECONDS)


class _Pages(SimpleHTTPRequestHandler):
    """Pages, and at `/metrics` what batch jobs tell Prometheus (nothing before the first job)."""

    metrics = Path()

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            super().do_GET()
            return
        body = self.metrics.read_bytes() if self.metrics.exists() else b""
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(host: str, port: int, pages: Path, logs: Path, metrics: Path) -> None:
    """Serve until the process is ended."""
    threading.Thread(target=_keep_short, args=(logs,), daemon=True).start()
    _Pages.metrics = metrics
    handler = functools.partial(_Pages, directory=str(pages))
    with ThreadingHTTPServer((host, port), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:6]))
