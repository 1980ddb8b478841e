"""`sluice evaluate` on a small shop: the promised result, beside an oracle, without any part of the stack."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
Evaluate = Callable[..., Any]
Write = Callable[..., str]
Columns = dict[str, list[Any]]


def test_result_has_the_promised_form(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    found = evaluate("--interactions", write(columns))
    for view in ("all", "repeat", "new"):
        assert set(found[view]) == {f"{metric}@{k}" for metric in ("ndcg", "recall", "hit") for k in (10, 20)}
        assert all(0 <= value <= 1 for value in found[view].values())
        for name, value in found[view].items():
            low, high = found["intervals"][view][name]
            assert low <= value <= high
    assert found["model"] == "two_stage"
    assert {"popularity", "personal_frequency", "personal_frequency_decayed", "als", "hybrid", "tifu_knn",
            "item_knn_bm25", "user_knn"} <= set(found["models"])  # fmt: skip
    assert found["users"]["all"] == 40
    gap = found["paired"]["popularity"]["all"]["ndcg@20"]
    assert gap["difference"] == pytest.approx(found["all"]["ndcg@20"] - found["models"]["popularity"]["all"]["ndcg@20"])
    assert gap["interval"][0] > 0  # habits beat popularity in this shop


def test_popularity_equals_counting_by_hand(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    found = evaluate("--interactions", write(columns), "--k", "5", "--min-item-users", "1")
    cut = max(columns["ts"]) + 1 - 28 * 86400
    past: dict[str, int] = {}
    truth: dict[str, set[str]] = {}
    for user, item, moment in zip(columns["user"], columns["item"], columns["ts"], strict=True):
        if moment < cut:
            past[item] = past.get(item, 0) + 1
        else:
            truth.setdefault(user, set()).add(item)
    top = sorted(past, key=lambda item: (-past[item], item))[:5]
    recall = np.mean([len(set(top) & bought) / len(bought) for bought in truth.values()])
    assert found["models"]["popularity"]["all"]["recall@5"] == pytest.approx(recall)


def test_the_future_changes_no_list(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    """Rows after the window are cut off: every figure stays; rows before the cut move them (negative control)."""
    cut = max(columns["ts"]) - 56 * 86400
    arguments = ("--cut", str(cut), "--window-days", "28")
    whole = evaluate("--interactions", write(columns), *arguments)
    kept = [place for place, moment in enumerate(columns["ts"]) if moment < cut + 28 * 86400]
    shorter = {name: [values[place] for place in kept] for name, values in columns.items()}
    again = evaluate("--interactions", write(shorter), *arguments)
    assert [again[view] for view in ("all", "repeat", "new")] == [whole[view] for view in ("all", "repeat", "new")]
    assert again["models"] == whole["models"]
    early = [place for place in kept if not cut - 14 * 86400 <= columns["ts"][place] < cut]
    control = {name: [values[place] for place in early] for name, values in columns.items()}
    assert evaluate("--interactions", write(control), *arguments)["models"] != whole["models"]


def test_last_basket_and_its_moment(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    log = write(columns)
    found = evaluate("--interactions", log, "--protocol", "last-basket")
    assert found["protocol"]["moment"] == "previous"
    assert found["users"]["all"] == 40
    assert found["all"]["recall@10"] > found["models"]["popularity"]["all"]["recall@10"]
    at_visit = evaluate("--interactions", log, "--protocol", "last-basket", "--moment", "next")
    # the moment of the visit moves ages, which only models with a clock can see
    assert at_visit["models"]["tifu_knn"] == found["models"]["tifu_knn"]
    assert at_visit["all"] != found["all"]


def test_a_given_split_is_measured_as_it_is(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    cut = max(columns["ts"]) + 1 - 28 * 86400
    parts = []
    for name, wanted in (("train", True), ("test", False)):
        kept = [place for place, moment in enumerate(columns["ts"]) if (moment < cut) is wanted]
        parts += [
            f"--{name}",
            write({key: [of[place] for place in kept] for key, of in columns.items()}, f"{name}.parquet"),
        ]
    found = evaluate("--protocol", "given-split", *parts)
    same = evaluate("--interactions", write(columns), "--cut", str(cut), "--min-item-users", "1")
    assert found["users"] == same["users"]
    assert found["models"]["popularity"] == same["models"]["popularity"]
    assert found["model"] == "two_stage"


def test_column_names_csv_and_times_in_any_form(
    evaluate: Evaluate, write: Write, columns: Columns, tmp_path: Path
) -> None:
    expected = evaluate("--interactions", write(columns))["models"]["popularity"]
    text = np.array([np.datetime64(int(moment), "s") for moment in columns["ts"]])
    rows = zip(columns["user"], columns["item"], text, strict=True)
    (tmp_path / "log.csv").write_text("who,what,when\n" + "".join(f"{u},{i},{t}Z\n" for u, i, t in rows))
    named = ("--user", "who", "--item", "what", "--time", "when")
    assert evaluate("--interactions", str(tmp_path / "log.csv"), *named)["models"]["popularity"] == expected
    in_ms = {
        "household_id": columns["user"],
        "product_id": columns["item"],
        "ts": [int(t) * 1000 for t in columns["ts"]],
    }
    assert evaluate("--interactions", write(in_ms))["models"]["popularity"] == expected
    stamps = {"user_id": columns["user"], "item_id": columns["item"], "event_time": text}
    assert evaluate("--interactions", write(stamps))["models"]["popularity"] == expected


def test_no_part_of_the_stack_is_imported(write: Write, columns: Columns, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom jobs.evaluate.outsiders import evaluate\nfrom jobs.evaluate.requests import Request\n"
        "from pathlib import Path\n"
        "evaluate(Request('last-basket', interactions=Path(sys.argv[1]), threads=1), lambda line: None)\n"
        "bad = {'pyspark', 'mlflow', 'redis', 'airflow', 'deltalake', 'boto3'} & set(sys.modules)\n"
        "print(sorted(bad))"
    )
    home = {"SLUICE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", script, write(columns)],
        cwd=ROOT, env=os.environ | home, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().replace("'", '"')) == []


def test_same_data_same_figures(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    """The order of the rows and a second run change nothing."""
    first = evaluate("--interactions", write(columns))
    order = np.random.default_rng(2).permutation(len(columns["ts"]))
    shuffled = {name: [values[place] for place in order] for name, values in columns.items()}
    second = evaluate("--interactions", write(shuffled))
    assert {key: first[key] for key in first if key != "seconds"} == {
        key: second[key] for key in second if key != "seconds"
    }


def test_a_tuned_recipe_trains_our_lists(evaluate: Evaluate, write: Write, columns: Columns, tmp_path: Path) -> None:
    from dataclasses import replace

    from jobs.recipes import write_recipe
    from models.recipe import FAST

    tuned = replace(FAST, all_booster={**FAST.all_booster, "num_iterations": 2})
    write_recipe(tmp_path / "tuned.json", tuned, {})
    usual, found = (
        evaluate("--interactions", write(columns), *more) for more in ((), ("--recipe", str(tmp_path / "tuned.json")))
    )
    assert found["all"] != usual["all"]
    assert found["models"] == usual["models"]
    assert usual["bounded"] == {}


def test_leaves_that_were_tuned_stay_on_a_small_log() -> None:
    from dataclasses import replace

    from jobs.evaluate.outsiders import _sized
    from models.recipe import FAST

    tuned = replace(FAST, all_booster={**FAST.all_booster, "min_data_in_leaf": 40})
    assert _sized(tuned, 1000).all_booster["min_data_in_leaf"] == 40
    assert _sized(tuned, 1000).new_booster["min_data_in_leaf"] == 3


def test_lists_that_are_learnt_from_a_sample_say_so(
    evaluate: Evaluate, write: Write, columns: Columns, tmp_path: Path
) -> None:
    from dataclasses import replace

    from jobs.recipes import write_recipe
    from models.recipe import FAST

    write_recipe(tmp_path / "few.json", replace(FAST, reference_users=30), {})
    found = evaluate("--interactions", write(columns), "--recipe", str(tmp_path / "few.json"))
    told = {"reference_users": 30, "users": 40}
    assert found["bounded"] == {"hybrid": told, "two_stage": told}
    assert sum("from 30 of 40 users, a keyed sample" in note for note in found["notes"]) == 2


def test_lists_of_a_release_after_the_cut_are_said_to_have_seen_the_truth() -> None:
    from datetime import UTC, datetime

    from jobs.evaluate.release_lists import Published
    from models.evaluation import ModelLists

    none = np.empty((0, 5), np.int64)
    as_of = datetime(2017, 11, 27, 5, tzinfo=UTC)
    published = Published("r-1", as_of, ModelLists(none, none), 3, 3)
    cut = as_of.timestamp()
    assert not published.saw(np.array([cut, cut]))
    assert not any("WARNING" in note for note in published.notes(np.array([cut, cut])))
    assert published.saw(np.array([cut - 1, cut]))
    said = published.notes(np.array([cut - 86400, cut, cut]))[0]
    assert said.startswith(
        "WARNING: release r-1 is as of 2017-11-27T05:00:00+00:00, later than the lists of 1 of 3 users"
    )
    assert "2017-11-26T05:00:00Z" in said
    assert "no times" in published.notes(np.zeros(3))[0]
