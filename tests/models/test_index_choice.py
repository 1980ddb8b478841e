"""Tuning reaches its target, the cheapest that passes is chosen, and what time it took decides nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models import index_choice
from models.base import ModelError
from models.index_choice import Sample, choose_index, fit_lsh, ivf_lists, measure, tune_ivf
from models.ivf_index import IvfIndex
from models.lsh_index import LshIndex
from models.vector_index import FlatIndex


def _clustered(count: int, dimensions: int = 16, clusters: int = 30, spread: float = 0.25, seed: int = 3) -> Any:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(clusters, dimensions))
    return (centres[draw.integers(clusters, size=count)] + spread * draw.normal(size=(count, dimensions))).astype("f4")


@pytest.fixture(scope="module")
def catalogue() -> Any:
    return _clustered(4000)


def _choose_as_if_large(vectors: Any) -> Any:
    """The choice where a search is so long that what it costs beside its reading is nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(index_choice._FIXED, "ivf", 0.0)
        return choose_index(vectors)


@pytest.fixture(scope="module")
def choice(catalogue: Any) -> Any:
    return _choose_as_if_large(catalogue)


def test_recall_is_the_share_of_the_true_hundred_by_brute_force(catalogue: Any) -> None:
    flat = FlatIndex.build(catalogue)
    _, sample = Sample.draw(flat, 20, seed=1)
    index = LshIndex.build(catalogue, tables=2, bits=8, scan=150, probes=256)
    unit = catalogue / np.linalg.norm(catalogue, axis=1, keepdims=True)
    shares = []
    for row in sample.rows:
        cosines = unit @ unit[row]
        cosines[row] = -2
        truth = np.argsort(-cosines)[:100]
        found = [one for one in index.search(index.vector(int(row)), 101)[0].tolist() if one != row]
        shares.append(np.isin(truth, found[:100]).mean())
    assert 0.1 < np.mean(shares) < 0.99
    assert measure(index, sample).recall == pytest.approx(np.mean(shares), abs=1e-3)


def test_every_kind_is_tried_and_reaches_the_target_on_rows_it_was_not_tuned_on(choice: Any) -> None:
    assert {one.kind for one in choice.options} == {"flat", "ivf", "lsh"}
    assert len([one for one in choice.options if one.kind == "lsh"]) == 4
    for one in choice.options:
        assert one.recall >= 0.97
        assert one.passes
        assert one.p99_ms > 0
        assert one.size_bytes >= 4 * 16 * 4000
    assert choice.options[0].recall == 1.0


def test_the_cheapest_that_passes_is_chosen(choice: Any) -> None:
    assert choice.chosen.cost == min(one.cost for one in choice.options)
    assert (choice.index.kind, choice.index.parameters) == (choice.chosen.kind, choice.chosen.parameters)
    assert choice.chosen.kind == "ivf"


def test_the_choice_does_not_depend_on_time(choice: Any, catalogue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**9))
    monkeypatch.setattr(index_choice.time, "thread_time", lambda: float(next(ticks)) ** 2)
    slow = _choose_as_if_large(catalogue)
    assert slow.index.to_bytes() == choice.index.to_bytes()
    assert slow.options != choice.options
    assert [replace(one, p99_ms=0) for one in slow.options] == [replace(one, p99_ms=0) for one in choice.options]


def test_flat_is_the_cheapest_where_a_search_takes_no_time(catalogue: Any, choice: Any) -> None:
    costs = {one.kind: index_choice._FIXED[one.kind] for one in choice.options}
    assert costs["flat"] + len(catalogue) < min(costs["ivf"], costs["lsh"])
    assert choose_index(catalogue[:2000]).index.kind == "flat"


def test_hash_tables_are_chosen_where_they_are_cheapest(catalogue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(index_choice._FIXED, "ivf", 1e9)
    monkeypatch.setitem(index_choice._FIXED, "lsh", 0.0)
    monkeypatch.setitem(index_choice._ROW, "lsh", 0.1)
    assert choose_index(catalogue).index.kind == "lsh"


def test_flat_when_nothing_passes() -> None:
    found = choose_index(_clustered(1200), target=1.01)
    assert not any(one.passes for one in found.options)
    assert found.index.kind == "flat"
    # Vectors without any structure: whoever finds the neighbours has read nearly all.
    sphere = np.random.default_rng(1).normal(size=(1500, 64)).astype("f4")
    assert choose_index(sphere).index.kind == "flat"


def test_tuning_meets_its_aim_with_the_smallest_scan_on_data_made_by_hand() -> None:
    # 20 directions of 150 copies each, far apart: one's neighbours are its own copies, in its own bucket.
    copies = np.repeat(np.eye(20, dtype="f4"), 150, axis=0) + 1e-4 * np.random.default_rng(1).normal(
        size=(3000, 20)
    ).astype("f4")
    flat = FlatIndex.build(copies)
    tuning, held_out = Sample.draw(flat, 50, seed=1)
    option, index = fit_lsh(LshIndex.build(copies, tables=1, bits=10), tuning, held_out)
    assert option.recall >= 0.97
    assert index.scan < 600
    ivf = tune_ivf(IvfIndex.build(copies, lists=20), tuning, aim=0.98)
    assert measure(ivf, held_out).recall >= 0.97
    assert ivf.parameters["nprobe"] <= 4


def test_a_higher_target_reads_more(catalogue: Any) -> None:
    flat = FlatIndex.build(catalogue)
    samples = Sample.draw(flat, 50, seed=1)
    index = LshIndex.build(catalogue, tables=4, bits=8)
    low, high = (fit_lsh(index, *samples, target=target)[1].scan for target in (0.6, 0.97))
    assert low < high


@pytest.mark.parametrize("count", [0, 1, 2, 50, 999])
def test_a_small_catalogue_gets_flat(count: int) -> None:
    found = choose_index(_clustered(count))
    assert [one.kind for one in found.options] == ["flat"]
    assert found.options[0].recall == 1.0
    assert len(found.index) == count


def test_zero_vectors_are_no_queries_and_no_trouble() -> None:
    vectors = _clustered(1200)
    vectors[::3] = 0
    assert choose_index(vectors).chosen.recall >= 0.97
    assert choose_index(np.zeros((1200, 4), np.float32)).index.kind == "flat"


def test_vectors_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="finite"):
        choose_index(np.full((5, 3), np.nan, np.float32))


@pytest.mark.parametrize(("count", "lists"), [(1000, 16), (17_000, 256), (1_000_000, 2048)])
def test_lists_are_a_power_of_two_with_enough_vectors_each(count: int, lists: int) -> None:
    assert ivf_lists(count) == lists
