"""The users who speak for all: everybody while they are few, and never a matter of order or of who came since."""

import numpy as np

from models.snapshot import reference_users

USERS = np.array([f"u{number}" for number in range(500)], dtype=object)


def chosen(users: np.ndarray, *, seed: int = 1) -> set[str]:
    places = reference_users(users, 100, seed=seed)
    assert places is not None
    assert (np.diff(places) > 0).all()
    return set(users[places])


def test_few_users_are_all_taken() -> None:
    assert reference_users(USERS, 500, seed=1) is None


def test_the_sample_hangs_on_seed_and_ids_alone() -> None:
    assert len(chosen(USERS)) == 100
    assert chosen(USERS[::-1]) == chosen(USERS)
    assert chosen(USERS, seed=2) != chosen(USERS)


def test_new_users_take_few_places() -> None:
    before, after = chosen(USERS), chosen(np.append(USERS, [f"new{number}" for number in range(10)]))
    assert len(before - after) <= 10
