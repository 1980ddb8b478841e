"""Child process that loads a vector index with bounded memory and time, and searches it once, before anybody adopts it.

Reads one JSON line (kind, shape, parameters) and the bytes of the index from standard input; writes one JSON line
`{"refused": reason or null}`. Parsers of index files trust what they read: a crafted file may crash the process or ask
for any amount of memory. That ends this child, whose caller reads the signal off its exit code.
"""

import json
import os
import resource
import sys
from typing import Any

_CPU_SECONDS = 60
_SLACK_BYTES = 256 << 20  # stacks and arenas
_COPIES = 8  # what loading and checking may hold at once, in sizes of the file

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _limit(size: int) -> None:
    """From here on: this much more memory, this much CPU, no core dump, no file written."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    if sys.platform == "linux":  # elsewhere the limit does not bind, and there is no statm to read
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 pathlib is not loaded here
            held = int(statm.read().split()[0]) * resource.getpagesize()
        most = held + _COPIES * size + _SLACK_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _try(promised: dict[str, Any], content: bytes) -> str | None:
    """Why the index must not be used, or None."""
    from models.base import ArtefactError
    from models.vector_index import load_index

    _limit(len(content))
    try:
        index = load_index(content, **promised)
        if len(index):
            index.neighbours(0, k=10)
    except ArtefactError as problem:
        return str(problem)
    except Exception as problem:
        return f"vector index: {type(problem).__name__}: {problem}"
    return None


def main() -> None:
    """Answer on standard output."""
    promised = json.loads(sys.stdin.buffer.readline())
    refused = _try(promised, sys.stdin.buffer.read())
    print(json.dumps({"refused": refused}))


if __name__ == "__main__":
    main()
