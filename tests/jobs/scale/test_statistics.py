"""Figures of a history, by hand."""

import pyarrow as pa
import pytest

from jobs.scale.statistics import FIGURES, describe

ROWS = pa.table(
    {
        "who": ["a", "a", "a", "a", "b"],
        "basket": ["1", "1", "2", "3", "4"],
        "what": ["milk", "tea", "milk", "milk", "milk"],
    }
)


def test_every_figure_by_hand() -> None:
    found = describe(ROWS, user="who", basket="basket", item="what")
    assert list(found) == list(FIGURES)
    assert (found["users"], found["rows"], found["items"]) == (2, 5, 2)
    assert (found["baskets_mean"], found["baskets_median"]) == (2, 2)
    assert found["baskets_p90"] == pytest.approx(2.8)
    assert (found["basket_items_mean"], found["basket_items_median"]) == (1.25, 1)
    assert found["user_items_median"] == 1.5
    assert found["repeat_share"] == pytest.approx(2 / 5)
    assert found["gini"] == pytest.approx((1 * 4 - 1 * 1) / (2 * 5))
    assert found["top_share"] == pytest.approx(4 / 5)
