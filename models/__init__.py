"""Recommenders, rankers and their evaluation: pure functions of arrays, without a stack."""

import os

# Read when LightGBM's and implicit's OpenMP is loaded: a thread that has done its part sleeps. By default it spins,
# which on a machine with other work takes the core from the thread that it waits for: a ranker that trains in 1 s alone
# took 4-10 s beside a load of 8, and seven times the CPU.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
