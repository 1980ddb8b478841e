"""A commit says by which rules its table was written, and a failed check whether that may be why."""

import pytest

from jobs.silver.rules import RULES, fingerprint, other_rules, written_by
from jobs.verify.checks import Check
from jobs.verify.runner import explained

TODAY = {f"{RULES}{fingerprint()}": 1}
OLD = {f"{RULES}0123456789ab": 1}
FAILED = Check("rebuild.silver.products", False, "1 row", "2 rows", "rebuilt")
PASSED = Check("unique.silver.products", True, "0", "0")


@pytest.mark.spark
def test_every_wording_of_the_rules_that_wrote_stays_named() -> None:
    assert written_by({}) == TODAY  # a first load
    assert written_by({"bronze.products": 3, **OLD}) == {**OLD, **TODAY}
    assert written_by({"bronze.products": 3}) == {f"{RULES}unknown": 1, **TODAY}  # a commit that names none
    assert other_rules({"bronze.products": 3, **OLD, **TODAY}) == ["0123456789ab"]
    assert other_rules({"bronze.products": 3, **TODAY}) == []


@pytest.mark.spark
def test_a_failed_check_says_that_other_rules_wrote_and_what_to_do() -> None:
    told = explained([FAILED, PASSED], {**OLD, **TODAY})
    assert told[1] == PASSED
    assert not told[0].ok  # explained, not excused
    for word in ("0123456789ab", fingerprint(), "silver.refine --start", "make clean"):
        assert word in told[0].detail
    assert explained([FAILED, PASSED], TODAY) == [FAILED, PASSED]
