"""`make setup`, second half: what the environment cannot hold (system library, Java, jars), checked and fetched."""

import platform
import sys
import time

from jobs.settings import SettingsError, settings
from jobs.stack import jars, preflight
from jobs.stack.java import JavaError, find_java, java_home
from jobs.stack.postgres import PostgresError, unprivileged
from jobs.stack.state_folder import claim


def main() -> int:
    """Check everything, fetch the jars; every problem is named at once, each with its cure."""
    began = time.monotonic()
    try:
        config = settings()
        claim(config)
    except SettingsError as problem:
        print(f"\nmake setup stopped: {problem}", file=sys.stderr)
        return 1
    problems: list[str] = []
    try:
        java = find_java(config)
        java_home(config)
        if not jars.in_place(config):
            print(f"fetching the JVM jars (about 200 files, once) with Java {java.major} ({java.origin})", flush=True)
        jars.ensure_jars(config)
    except (JavaError, jars.JarError) as problem:
        problems.append(str(problem))
    try:
        unprivileged()
    except PostgresError as problem:
        problems.append(str(problem))
    found = [
        *preflight.library_problems(),
        *preflight.disk_problems(config.home),
    ]
    # Memory may be short only now, because something else runs: `up` looks again.
    notes = preflight.memory_problems()
    problems += [one.text for one in found if one.blocking]
    for one in (*found, *notes):
        if not one.blocking or one in notes:
            print(f"note: {one.text}", flush=True)
    if problems:
        print("\nmake setup is not complete:\n" + "\n".join(f"- {text}" for text in problems), file=sys.stderr)
        return 1
    facts = (
        f"Python {platform.python_version()}, Java {java.major} ({java.origin}), {len(jars.read_sums())} jars verified"
    )
    print(f"set up: {facts}; checks took {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
