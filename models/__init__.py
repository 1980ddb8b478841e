"""Recommenders, rankers and their evaluation: pure functions of arrays, without a stack."""

import os

# Read when LightGBM's and implicit's OpenMP (GNU's) is loaded: how long a thread that has done its part spins before it
# sleeps. By default milliseconds, which on a machine with other work take the core from the thread that it waits for: a
# ranker that trains in 1 s alone took 4-10 s beside a load of 8, with seven times the CPU. To sleep at once (the policy
# `passive`) costs a third more on an idle machine; a thousand rounds cost next to nothing on either.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
