"""Whether Delta's change feed of some versions can still be read, told from the log and the files that are there.

The feed of a commit is its change files or, where it has none, the data files that it added and removed. VACUUM takes
both once they are older than the retention (change files always, data files when OPTIMIZE has put others in their
place), and Spark says so only in the middle of a job.
"""

import json
from collections.abc import Iterable
from urllib.parse import unquote


def feed_is_whole(uri: str, after: int, upto: int) -> bool:
    """Whether every commit and file is there that the feed of versions `(after, upto]` is read from.

    Args:
        uri: of the table, percent-encoded.
        after: last version that the reader holds.
        upto: last version that it wants.
    """
    from pyarrow import fs  # a tenth of a second, and a run that finds nothing new reads no feed

    files, folder = fs.FileSystem.from_uri(uri.replace("s3a://", "s3://", 1))
    wanted: set[str] = set()
    for version in range(after + 1, upto + 1):
        try:
            with files.open_input_stream(f"{folder}/_delta_log/{version:020d}.json") as commit:
                wanted.update(_feed_files(commit.read().decode().splitlines()))
        except FileNotFoundError:  # the log was cut off
            return False
    found = files.get_file_info([f"{folder}/{path}" for path in sorted(wanted)])
    return all(one.type == fs.FileType.File for one in found)


def _feed_files(actions: Iterable[str]) -> set[str]:
    """Paths, relative to the table, of the files that hold the feed of one commit."""
    changes: set[str] = set()
    data: set[str] = set()
    for action in map(json.loads, actions):
        if "cdc" in action:
            changes.add(unquote(action["cdc"]["path"]))
        for kind in ("add", "remove"):
            if kind in action and action[kind]["dataChange"]:  # OPTIMIZE changes no data: not in the feed
                data.add(unquote(action[kind]["path"]))
    return changes or data
