"""Items that stand in for an item: of its own type, by popularity, the same for the same seed."""

import numpy as np

from jobs.scale.seed_baskets import alternatives

TYPES = np.array([1, 2, 1, 3, 2, 1])
BOUGHT = np.array([90, 5, 9, 4, 5, 1])


def test_alternatives_are_of_the_same_type_and_seeded() -> None:
    found = alternatives(TYPES, BOUGHT, seed=1, count=50)
    assert found.shape == (6, 50)
    assert (TYPES[found] == TYPES[:, None]).all()
    assert (found[3] == 3).all()  # alone in its type
    assert np.array_equal(found, alternatives(TYPES, BOUGHT, seed=1, count=50))
    assert not np.array_equal(found, alternatives(TYPES, BOUGHT, seed=2, count=50))


def test_popular_items_stand_in_more_often() -> None:
    found = alternatives(TYPES, BOUGHT, seed=1, count=4000)
    shares = np.bincount(found[0], minlength=6) / 4000
    assert np.allclose(shares[[0, 2, 5]], [0.90, 0.09, 0.01], atol=0.02)
