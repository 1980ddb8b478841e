"""The ceiling's command: figures in order on a small shop, a table between the README's markers."""

from pathlib import Path

import numpy as np
import pytest

from jobs.evaluate import ceiling
from jobs.evaluate.ceiling_facts import conclusion, section
from models.interaction_matrix import DAY_SECONDS, InteractionLog
from models.log_training import cuts_in_time, labelled
from models.recipe import Recipe


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    draw = np.random.default_rng(4)
    rows = [
        (f"u{user:02d}", f"i{item:02d}", day * DAY_SECONDS + user)
        for user in range(40)
        for day in range(0, 56, 3)
        for item in {user % 10, 10 + user % 7, 20 + int(draw.integers(0, 20))}
    ]
    users, items, times = zip(*rows, strict=True)
    log = InteractionLog.from_columns(users, items, np.array(times))
    small = {"factors": 8, "regularization": 1.0, "alpha": 2.0, "iterations": 3, "random_state": 1}
    trees = {"num_leaves": 7, "learning_rate": 0.2, "num_iterations": 10, "min_data_in_leaf": 20}
    recipe = Recipe(
        min_item_users=2, new_candidates=12, als=small, als_wide=small, sampled_negatives=1.0, sampled_history=1.0,
        all_booster={**trees, "objective": "binary"}, new_booster={**trees, "objective": "lambdarank"}, num_threads=1,
    )  # fmt: skip
    cut = 42 * DAY_SECONDS
    past = log.before(cut)
    cuts = cuts_in_time(past, cut, window_days=14, count=1, min_item_users=2)
    return ceiling.measure(
        cuts, labelled(past, log.between(cut, cut + 14 * DAY_SECONDS), cut, min_item_users=2), recipe
    )


def test_no_list_is_better_than_a_perfect_one(found: dict[str, dict[str, dict[str, float]]]) -> None:
    for view in ("all", "new"):
        best = found[view]["perfect ranking"]["ndcg@20"]
        assert best <= 1
        assert all(0 < found[view][name]["ndcg@20"] <= best + 0.05 for name in ("ours", "oracle", "calibrated"))
        assert 0 < found[view]["facts"]["truth among candidates"] <= 1
    assert found["all"]["facts"]["users"] == 40


def test_the_table_goes_between_the_markers(found: dict[str, dict[str, dict[str, float]]], tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- ceiling: start -->\nstale figures\n<!-- ceiling: end -->\nafter\n")
    text = ceiling.table(found, 48, 1)
    ceiling.write_readme(text, file)
    ceiling.write_readme(text, file)
    written = file.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "stale figures" not in written
    assert written.count("**perfect ranking**") == 1
    assert f"{found['all']['oracle']['ndcg@20']:.4f}" in written
    file.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the markers"):
        ceiling.write_readme(text, file)
    assert "<!-- ceiling: start -->" in ceiling.README.read_text()


def test_the_report_shows_the_ceiling_beside_the_targets(found: dict[str, dict[str, dict[str, float]]]) -> None:
    shown = section(found, {("all", "ndcg@20"): 0.41, ("new", "ndcg@20"): 0.068})
    for view in ("all", "new"):
        assert f"{found[view]['oracle']['ndcg@20']:.4f} [" in shown
        assert f"{found[view]['oracle']['ndcg@20']:.4f} ({view})" in conclusion(found)
    assert "It bounds no other retrieval and no other features of the same log" in conclusion(found)
    assert "<td>target</td><td>0.41</td><td>0.068</td>" in shown
    assert section(None, {}) == ""
