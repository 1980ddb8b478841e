"""How every command says that it failed: in words on standard error and, with `--json`, as one object besides.

The rule of `--json`: standard output is one JSON document, the answer or `{"ok": false, "error": …}`; the exit code is
the same as without.
"""

import json
from typing import Any

from rich.console import Console

INTERRUPTED = "interrupted"
"""What a program is told where a person has pressed Ctrl-C (who knows it)."""


def tell_failure(words: str, *, as_json: bool, **facts: Any) -> None:
    """Say it; `facts` are what there is to report all the same."""
    Console(stderr=True).print(words, style="red", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_failure(words, **facts)


def print_failure(words: str, **facts: Any) -> None:
    """The object alone, where the words have been said."""
    print(json.dumps({"ok": False, "error": words, **facts}, default=str, indent=2))
