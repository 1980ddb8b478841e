"""Every bad input of an evaluation: refused with what is wrong and the cure, or a fallback that the result states."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluate.file_columns import InputError

Evaluate = Callable[..., Any]
Refused = Callable[..., str]
Write = Callable[..., str]
Columns = dict[str, list[Any]]


def noted(found: Any, words: str) -> bool:
    return any(words in note for note in found["notes"])


def test_good_input_has_no_notes(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    """Negative control of every fallback below."""
    assert evaluate("--interactions", write(columns), "--k", "5")["notes"] == []


def test_empty_interactions(refused: Refused, write: Write, columns: Columns) -> None:
    nothing = {name: np.array(values)[:0] for name, values in columns.items()}
    assert "expected at least one interaction, got an empty table" in refused("--interactions", write(nothing))


def test_one_user(refused: Refused, write: Write, columns: Columns) -> None:
    said = refused("--interactions", write(columns | {"user": ["u1"] * len(columns["user"])}))
    assert "expected at least 2 users, got 1" in said


def test_a_missing_column(refused: Refused, write: Write, columns: Columns) -> None:
    del columns["ts"]
    said = refused("--interactions", write(columns))
    assert "expected a column for time (one of event_time, time, ts" in said
    assert "name it with --time" in said
    assert "choose one of them" in refused("--interactions", write(columns), "--user", "nobody")


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan at row 3"), (-1.0, "-1.0 at row 3")])
def test_weights_that_are_no_weights(refused: Refused, write: Write, columns: Columns, value: float, word: str) -> None:
    weights = np.ones(len(columns["ts"]))
    weights[3] = value
    said = refused("--interactions", write(columns | {"weight": weights.tolist()}))
    assert "expected finite weights of at least 0 in 'weight'" in said
    assert word in said


def test_times_and_ids_that_are_none(refused: Refused, write: Write, columns: Columns) -> None:
    words = [str(moment) for moment in columns["ts"]]
    words[2] = "yesterday"
    assert "got" in refused("--interactions", write(columns | {"ts": words}))
    absent = [None, *columns["user"][1:]]
    assert "got 1 empty ones, the first at row 0: drop those rows" in refused(
        "--interactions", write(columns | {"user": absent})
    )


@pytest.mark.parametrize("scale", [1, 10**6])
def test_dates_that_are_written_as_numbers(refused: Refused, write: Write, columns: Columns, scale: int) -> None:
    first: Any = np.datetime64("2017-01-01")
    days = first + (np.array(columns["ts"]) // 86400 % 140).astype(int)
    written = [int(str(day).replace("-", "")) * scale + (53000 if scale > 1 else 0) for day in days]
    said = refused("--interactions", write({**columns, "ts": written}), "--protocol", "last-basket")
    assert "got numbers that read as dates, like 2017" in said
    assert "write them as 2017-11-27" in said


def test_cuts_outside_the_log(refused: Refused, write: Write, columns: Columns) -> None:
    log = write(columns)
    assert "no event lies before the cut 2001-01-01T00:00:00Z, the first one is at" in refused(
        "--interactions", log, "--cut", "2001-01-01"
    )
    assert "choose an earlier one" in refused("--interactions", log, "--cut", "2030-01-01T00:00:00Z")
    assert "expected ISO 8601 or seconds, got 'tomorrow'" in refused("--interactions", log, "--cut", "tomorrow")
    assert "lower min_item_users" in refused("--interactions", log, "--min-item-users", "1000")


def test_windows_and_times_that_make_no_cut(refused: Refused, write: Write, columns: Columns) -> None:
    log = write(columns)
    assert "expected a window shorter than the log, got 1000 days" in refused(
        "--interactions", log, "--window-days", "1000"
    )
    for odd in ("nan", "inf", "-1"):
        assert "--window-days: expected more than 0" in refused("--interactions", log, "--window-days", odd)
    assert "--cut: expected a moment, got nan" in refused("--interactions", log, "--cut", "nan")
    same = {**columns, "ts": [1.5e9] * len(columns["ts"])}
    assert "got one moment for all of them" in refused("--interactions", write(same))
    outlier = {**columns, "ts": [4e9, *columns["ts"][1:]]}
    assert "name --cut, or drop the rows at 2096" in refused("--interactions", write(outlier))
    mixed = {**columns, "ts": [moment * (1000 if place % 3 == 0 else 1) for place, moment in enumerate(columns["ts"])]}
    assert "expected one unit of time in 'ts', got" in refused("--interactions", write(mixed))


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ([1.5, 2.0], "got 1.5 at row 0"),
        ([float("nan"), 2.0], "got nan at row 0"),
        ([["a"], ["b"]], "got list<"),
        ([" ", "b"], "got 1 blank ones, the first at row 0"),
        (["a\0", "b"], "got NUL characters"),
        ([b"\xff\xfe", b"b"], "that is not UTF-8"),
    ],
)
def test_ids_that_are_none_are_refused_not_merged(refused: Refused, write: Write, users: list[Any], said: str) -> None:
    assert said in refused("--interactions", write({"user": users, "item": ["x", "y"], "ts": [1.0, 2.0]}))


def test_ids_and_folders_as_other_tools_write_them(write: Write, tmp_path: Path) -> None:
    from jobs.evaluate.interactions_file import read_table

    number = UUID(int=7)
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([number.bytes] * 2, pa.binary(16)))
    folder = tmp_path / "export"  # no ending says what it holds
    folder.mkdir()
    decimals = pa.array([Decimal("7.00"), Decimal("8.00")])
    pq.write_table(pa.table({"user": uuids, "item": decimals, "ts": [1.0, 2.0]}), folder / "part-0.parquet")
    found = read_table(folder)
    assert found.users.tolist() == [str(number)] * 2
    assert found.items.tolist() == ["7", "8"]
    with pytest.raises(InputError, match=r"'item', got decimal128\(2, 1\) with fractions"):
        read_table(Path(write({"user": ["a"], "item": pa.array([Decimal("7.5")]), "ts": [1.0]})))


def test_columns_of_one_name(refused: Refused, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = [pa.array(["a", "b"])] * 3 + [pa.array([1.0, 2.0])]
    pq.write_table(pa.table(values, names=["user", "user", "item", "ts"]), tmp_path / "log.parquet")
    assert "expected every column once, got 'user' twice" in refused("--interactions", str(tmp_path / "log.parquet"))


def test_a_column_that_may_be_a_weight_is_not_guessed(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    rated = write({**columns, "rating": [float(1 + place % 5) for place in range(len(columns["ts"]))]})
    assert noted(evaluate("--interactions", rated), "column 'rating' of log.parquet is not used")
    assert evaluate("--interactions", rated, "--weight", "rating")["notes"] == []


def test_kinds_of_rows_that_all_count_as_purchases_are_said(write: Write, columns: Columns) -> None:
    from jobs.evaluate.interactions_file import read_table

    rows = len(columns["ts"])
    kinds = [("purchase", "view", "cart")[place % 3] for place in range(rows)]
    told = read_table(Path(write({**columns, "event_type": kinds}))).notes
    assert len(told) == 1
    assert "'event_type' of log.parquet is not used: if its 3 values (cart, purchase, view) are kinds" in told[0]
    for harmless in (["purchase"] * rows, [f"note {place}" for place in range(rows)]):
        assert read_table(Path(write({**columns, "event_type": harmless}))).notes == []


def test_options_that_do_not_go_together(refused: Refused, write: Write, columns: Columns) -> None:
    log = write(columns)
    assert "expected one of global-time, last-basket, given-split" in refused(
        "--interactions", log, "--protocol", "random"
    )
    assert "expected --train and --test" in refused("--protocol", "given-split", "--train", log)
    told = refused("--protocol", "global-time", "--interactions", log, "--train", log, "--test", log)
    assert "a published split is measured by --protocol given-split" in told
    assert "expected --interactions FILE" in refused()
    assert "expected numbers from 1" in refused("--interactions", log, "--k", "0")
    assert "expected previous or next" in refused("--interactions", log, "--moment", "now")
    assert "profile must be one of" in refused("--interactions", log, "--profile", "best")


def test_files_that_are_none(refused: Refused, tmp_path: Path) -> None:
    assert "got nothing there" in refused("--interactions", str(tmp_path / "absent.parquet"))
    (tmp_path / "broken.parquet").write_text("not parquet")
    assert "expected a readable .parquet file" in refused("--interactions", str(tmp_path / "broken.parquet"))
    (tmp_path / "log.xlsx").write_text("")
    assert "expected .parquet or .csv, got '.xlsx'" in refused("--interactions", str(tmp_path / "log.xlsx"))
    said = refused("--interactions", str(tmp_path / "log.xlsx"), "--recipe", str(tmp_path / "absent.json"))
    assert "absent.json holds no recipe" in said


def test_no_release_to_score(refused: Refused, write: Write, columns: Columns, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.settings import settings

    monkeypatch.setenv("SLUICE_PORT_REDIS", "1")
    settings.cache_clear()
    assert "Redis does not answer" in refused("--interactions", write(columns), "--release", "current")


def test_duplicate_rows_are_merged(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    doubled = {name: [*values, *values[:7]] for name, values in columns.items()}
    once = evaluate("--interactions", write(columns))
    found = evaluate("--interactions", write(doubled))
    assert noted(found, "7 rows of log.parquet repeat a (user, item, time): merged, counted once")
    assert found["all"] == once["all"]


def test_doubled_rows_count_as_their_note_says(write: Write) -> None:
    from jobs.evaluate.interactions_file import read_table

    rows = {"user": ["a", "a", "b"], "item": ["x", "x", "x"], "ts": [1.0, 1.0, 2.0]}
    plain = read_table(Path(write(rows)))
    weighted = read_table(Path(write(rows | {"weight": [2.0, 3.0, 1.0]})))
    assert plain.log().weights.tolist() == [1.0, 1.0]
    assert plain.notes == ["1 rows of log.parquet repeat a (user, item, time): merged, counted once"]
    assert weighted.log().weights.tolist() == [5.0, 1.0]
    assert weighted.notes == ["1 rows of log.parquet repeat a (user, item, time): merged, their weights summed"]


def test_ids_of_a_csv_stay_text_under_any_name(tmp_path: Path) -> None:
    from jobs.evaluate.interactions_file import read_table

    (tmp_path / "log.csv").write_text("who,what,ts,trip\n007,01,1,1\n7,1,2,01\n")
    names = {"user": "who", "item": "what", "basket": "trip"}
    found = read_table(tmp_path / "log.csv", names)
    assert found.baskets is not None
    assert (found.users.tolist(), found.items.tolist()) == (["007", "7"], ["01", "1"])
    assert found.baskets.tolist() == ["1", "01"]


def test_gaps_in_baskets_that_nobody_asked_for_leave_them_out(write: Write) -> None:
    from jobs.evaluate.file_columns import InputError
    from jobs.evaluate.interactions_file import read_table

    rows = {"user": ["a", "b"], "item": ["x", "x"], "ts": [1.0, 2.0], "session_id": ["s", None]}
    file = Path(write(rows))
    found = read_table(file)
    assert found.baskets is None
    assert len(found.notes) == 1
    assert "got 1 empty ones, the first at row 1" in found.notes[0]
    several: list[dict[str, Any]] = [{"names": {"basket": "session_id"}}, {"needs_basket": True}]
    for asked in several:
        with pytest.raises(InputError, match="got 1 empty ones, the first at row 1: drop those rows"):
            read_table(file, **asked)


def test_what_a_basket_was_taken_to_be_is_said(write: Write, columns: Columns) -> None:
    from jobs.evaluate.requests import Request, prepare

    def notes() -> list[str]:
        return prepare(Request("last-basket", interactions=Path(write(columns)), min_baskets=1), {}).notes

    assert notes() == []
    del columns["basket"]
    baskets, rows = len(set(zip(columns["user"], columns["ts"], strict=True))), len(columns["ts"])
    told = "log.parquet has no basket column: rows of one user at one time are a basket, "
    assert notes() == [f"{told}{baskets:,} of {rows:,} rows; name it with --basket if there is one"]
    columns["ts"] = [moment + place * 7 % 1000 for place, moment in enumerate(columns["ts"])]
    assert "every row is a basket of its own" in notes()[0]


def test_rows_of_weight_zero_are_no_interactions(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    weights = [1.0] * len(columns["ts"])
    weights[0] = 0.0
    assert noted(
        evaluate("--interactions", write(columns | {"weight": weights})), "1 rows of log.parquet have weight 0"
    )


@pytest.mark.parametrize("protocol", ["global-time", "last-basket", "given-split"])
def test_the_unit_of_the_weights_is_nothing_to_learn(write: Write, columns: Columns, protocol: Any) -> None:
    """Weights of a billionth made factors fade into subnormal numbers: minutes for what takes a second."""
    from jobs.evaluate.requests import Request, prepare

    sizes = np.arange(len(columns["ts"])) % 3 + 1.0
    found = []
    for unit in (1.0, 2.0**-30, 2.0**40):  # powers of two: nothing is rounded differently
        file = Path(write({**columns, "weight": unit * sizes}))
        split = prepare(Request(protocol, interactions=file, train=file, test=file), {}).split
        assert np.median(split.past.weights) == 1.0
        found.append((split.past.weights, split.known.weights))
    assert all(np.array_equal(one, other) for one, other in zip(found[0], found[1], strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(found[0], found[2], strict=True))


def test_weights_out_of_all_proportion(refused: Refused, write: Write, columns: Columns) -> None:
    weights = [1e-20, 1e20, *[1.0] * (len(columns["ts"]) - 2)]
    said = refused("--interactions", write(columns | {"weight": weights}))
    assert "expected weights at most 1e+30 times each other in 'weight', got 1e-20 and 1e+20" in said


def test_k_beyond_the_catalogue(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    found = evaluate("--interactions", write(columns), "--k", "10", "--k", "50")
    assert noted(found, "k = [50] is more than the 30 items")
    assert found["all"]["recall@50"] == 1.0  # a list of the whole catalogue finds everything


def test_users_without_history_get_the_popular_list(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    late = max(columns["ts"])
    columns = {name: list(values) for name, values in columns.items()}
    for name, value in (("user", "newcomer"), ("item", "i1"), ("ts", late), ("basket", "x")):
        columns[name].append(value)
    found = evaluate("--interactions", write(columns))
    assert noted(found, "1 users with truth have no history")
    assert found["users"]["all"] == 41


def test_no_margin_is_won_on_users_without_history(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    del columns["ts"]
    test = {"user": ["new", "newer"], "item": ["i1", "i2"], "basket": ["a", "b"]}
    found = evaluate(
        "--protocol", "given-split", "--train", write(columns), "--test", write(test, "test.parquet"), "--k", "30"
    )  # fmt: skip
    assert noted(found, "2 users with truth have no history: every model made here gives them the popular list")
    del found["models"]["popularity_by_users"]  # has a popular list of its own
    assert {name: one["all"] for name, one in found["models"].items()} == dict.fromkeys(found["models"], found["all"])


def test_unknown_users_and_items_of_a_test_file(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    test = {"user": ["u1", "stranger"], "item": ["i1", "unheard-of"], "ts": [2e9, 2e9], "basket": ["a", "b"]}
    found = evaluate(
        "--protocol", "given-split", "--train", write(columns), "--test", write(test, "test.parquet"), "--k", "30"
    )  # fmt: skip
    assert noted(found, "1 users with truth have no history")
    assert noted(found, "1 of 2 true pairs are of items that nothing is known of: all missed")
    assert found["all"]["recall@30"] == 0.5


def test_files_that_name_items_differently(refused: Refused, write: Write, columns: Columns) -> None:
    test = {"user": ["u1", "u2"], "item": ["1", "2"], "ts": [2e9, 2e9], "basket": ["a", "b"]}
    told = refused("--protocol", "given-split", "--train", write(columns), "--test", write(test, "test.parquet"))
    assert "of the items of --test, 2 (such as '1'), none is among those of --train, 30 (such as 'i0')" in told
    assert "the two files must name items alike" in told


def test_a_ranker_is_taught_by_a_split_without_times(evaluate: Evaluate, write: Write) -> None:
    """Ratings: nothing is rated twice. Without a ranker our lists began with what each user had rated already."""
    random = np.random.default_rng(2)
    rated = [(user, item) for user in range(40) for item in random.choice(30, 14, replace=False) + 15 * (user % 2)]
    held_out = random.random(len(rated)) < 0.2
    files = []
    for name, mask in (("train.parquet", ~held_out), ("test.parquet", held_out)):
        users, items = np.array(rated)[mask].T
        files.append(write({"user": users, "item": items}, name))
    found = evaluate("--protocol", "given-split", "--train", files[0], "--test", files[1])
    assert found["model"] == "two_stage"
    assert noted(found, "no time column")
    assert noted(found, "the ranker learnt from parts of it that were held out by chance")
    assert found["all"]["ndcg@20"] > max(one["all"]["ndcg@20"] for one in found["models"].values()) - 0.05
    assert found["all"]["ndcg@20"] > 0.9 * found["new"]["ndcg@20"] > 0.2


def test_weights_without_times_leave_the_first_stage(evaluate: Evaluate, write: Write) -> None:
    """Plays in a year: a few favourites of each user, which are played again."""
    rows: dict[str, list[Any]] = {"user": [], "item": [], "weight": []}
    for user in range(20):
        for place in range(12):
            for name, value in zip(rows, (user, (user * 5 + place * 7) % 30, 200.0 if place < 3 else 4.0), strict=True):
                rows[name].append(value)
    again = {
        name: [one for one, plays in zip(values, rows["weight"], strict=True) if plays > 100]
        for name, values in rows.items()
    }
    found = evaluate("--protocol", "given-split", "--train", write(rows), "--test", write(again, "test.parquet"))
    assert found["model"] == "first_stage"
    assert noted(found, "the first stage answers")
    assert found["all"]["ndcg@10"] == found["models"]["personal_frequency_filled"]["all"]["ndcg@10"] == 1.0


def test_equal_labels_leave_the_first_stage(evaluate: Evaluate, write: Write) -> None:
    """Nobody buys again what the past cuts could have offered: every label is 0."""
    users, items, times = [], [], []
    for window in range(4):
        for user in range(12):
            users.append(f"u{user}")
            items.append(f"i{window}")
            times.append(1.5e9 + window * 28 * 86400 + user)
    users.append("u0")  # but once, after the cut: there is something to find
    items.append("i0")
    times.append(1.5e9 + 3 * 28 * 86400)
    found = evaluate("--interactions", write({"user": users, "item": items, "ts": times}), "--min-item-users", "1",
                     "--cut", str(1.5e9 + 2.9 * 28 * 86400), "--window-days", "20")  # fmt: skip
    assert found["model"] == "first_stage"
    assert noted(found, "no ranker could be trained")


def test_without_new_purchases_the_ranker_of_the_others_stays(evaluate: Evaluate, write: Write) -> None:
    """Everybody buys the same three things on every visit: nothing can be learnt of what is new."""
    rows = [
        (f"u{user}", f"i{(user + 3 * thing) % 10}", 1.5e9 + day * 86400 + user)
        for user in range(20)
        for day in range(user % 4, 140, 4)
        for thing in range(3)
    ]
    users, items, times = zip(*rows, strict=True)
    found = evaluate(
        "--interactions", write({"user": users, "item": items, "ts": times}), "--min-item-users", "1", "--k", "3"
    )
    assert found["model"] == "two_stage"
    assert noted(found, "no ranker of discover could be trained (the training set is empty")
    assert found["all"]["recall@3"] == 1.0
    assert found["users"]["new"] == 0


def test_items_without_category(evaluate: Evaluate, write: Write, columns: Columns) -> None:
    catalog = {"item_id": ["i0", "i1"], "category": ["food", None]}
    found = evaluate("--interactions", write(columns), "--items-catalog", write(catalog, "items.parquet"))
    assert noted(found, "29 items have no category")


def test_lists_of_genres_are_one_description_each(write: Write) -> None:
    from jobs.evaluate.interactions_file import read_catalog

    catalog = {"item_id": ["a", "b", "c"], "genres": [["war", None, "love"], [], None], "brand": [1, None, 2]}
    found = read_catalog(Path(write(catalog, "items.parquet")))
    assert found["category"].tolist() == ["war|love", None, None]
    assert found["brand"].tolist() == ["1", None, "2"]


@pytest.mark.parametrize("value", [{"of": "food"}, b"\xff\xfe", [{"of": "food"}], [b"\xff\xfe"]])
def test_descriptions_that_are_no_text(refused: Refused, write: Write, columns: Columns, value: Any) -> None:
    catalog = write({"item_id": ["i0"], "category": [value]}, "items.parquet")
    said = refused("--interactions", write(columns), "--items-catalog", catalog)
    assert "items.parquet: expected text, or lists of text, in 'category', got" in said


def test_a_catalog_that_names_an_item_twice(refused: Refused, write: Write, columns: Columns) -> None:
    catalog = write({"item_id": ["i0", "i0"], "category": ["a", "b"]}, "items.parquet")
    assert "expected one row per item, got 2 rows of 1" in refused(
        "--interactions", write(columns), "--items-catalog", catalog
    )
