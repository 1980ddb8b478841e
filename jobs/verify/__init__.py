"""`sluice verify`: the invariants of the platform, checked by machine on what is really there.

Each check says what was expected and what was got. They read; the only thing written is a scratch folder beside the
domains of the lake (`_verify-<domain>`), which is removed again.
"""

from jobs.verify.checks import Check
from jobs.verify.runner import run_checks

__all__ = ["Check", "run_checks"]
