"""Seed and version of everything that the shop makes up; import-light, because every call looks at them."""

VERSION = 1
"""Part of a load's fingerprint: raise it when a rule of `generate` or `titles` changes."""
SEED = 20_170_101
