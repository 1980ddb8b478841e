"""gold.topk in blocks of whole users, and a release that does not hang on how they are cut."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from features.domains.spec import ListRules
from jobs.catalog import table
from jobs.lake import Lake, LakeError
from jobs.publish.cold_lists import Segments
from jobs.publish.release_content import build_content
from jobs.publish.topk import TopK, read_topk, stored_topk
from jobs.settings import Settings

AS_OF = datetime(2017, 11, 27, 5, tzinfo=UTC)
USERS = [f"u{number}" for number in (3, 1, 20, 2, 11)]


@pytest.fixture
def lake(own_home: Path) -> Lake:
    """Five users in no order, two surfaces, three ranks; and another moment's lists."""
    rows = [
        (moment, user, surface, rank, f"i{rank}", float(9 - rank), ("als", "own")[rank % 2])
        for moment in (AS_OF, AS_OF.replace(day=20))
        for rank in (2, 3, 1)
        for surface in ("home", "discover")
        for user in USERS
    ]
    names = ("as_of", "user_id", "surface", "rank", "item_id", "score", "source")
    columns: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns |= {
        "as_of": pa.array(columns["as_of"], pa.timestamp("us", "UTC")),
        "score": pa.array(columns["score"], pa.float32()),
    }
    write_deltalake(str(own_home / "lake/retail/gold/topk"), pa.table({**columns, "model_version": ["4"] * len(rows)}))
    return Lake.of("retail", Settings(home=own_home))


def listed(topk: TopK) -> list[tuple[Any, ...]]:
    return list(zip(topk.user_ids, topk.surfaces, topk.item_ids, topk.scores.tolist(), topk.sources, strict=True))


@pytest.mark.parametrize("rows_at_once", [1, 4, 1000])
def test_blocks_hold_whole_users_in_order(
    lake: Lake, tmp_path: Path, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.publish.topk._ROWS_AT_ONCE", rows_at_once)
    stored, version = stored_topk(lake, AS_OF, scratch=tmp_path)
    assert (version, stored.rows, stored.source_names) == ("4", 30, ["als", "own"])
    blocks = [listed(block) for block in stored.blocks()]
    users = [{row[0] for row in block} for block in blocks]
    assert sum(map(len, users)) == 5  # nobody is divided
    whole, _ = read_topk(lake, AS_OF)
    assert [row for block in blocks for row in block] == sorted(listed(whole), key=lambda row: row[:3])
    owners = [(surface, user) for user, surface, *_ in listed(whole)]
    assert owners == sorted(owners)
    assert list(tmp_path.iterdir()) == []


def test_lists_that_are_replaced_while_they_are_read_stay_those_of_one_version(
    lake: Lake, tmp_path: Path, own_home: Path
) -> None:
    """Lists that another champion made meanwhile were published under the model version of those before."""
    stored, version = stored_topk(lake, AS_OF, scratch=tmp_path)
    before = [listed(block) for block in stored.blocks()]
    rows = lake.rows(table("gold.topk"))
    place = rows.column_names.index("model_version")
    others = rows.slice(0, 10).set_column(place, "model_version", pa.array(["5"] * 10))
    write_deltalake(str(own_home / "lake/retail/gold/topk"), others, mode="overwrite")
    assert [listed(block) for block in stored.blocks()] == before
    assert (version, stored.rows) == ("4", sum(map(len, before)))


def test_lists_of_two_models_are_refused(lake: Lake, tmp_path: Path, own_home: Path) -> None:
    other = read_topk(lake, AS_OF)[0]
    assert other.rows == 30
    folder = str(own_home / "lake/retail/gold/topk")
    odd = pa.table({"as_of": pa.array([AS_OF], pa.timestamp("us", "UTC")), "user_id": ["u1"], "surface": ["home"],
                    "rank": [9], "item_id": ["i9"], "score": pa.array([0.1], pa.float32()), "source": ["als"],
                    "model_version": ["5"]})  # fmt: skip
    write_deltalake(folder, odd, mode="append")
    for read in (lambda: read_topk(lake, AS_OF), lambda: stored_topk(lake, AS_OF, scratch=tmp_path)):
        with pytest.raises(LakeError, match="lists of one model"):
            read()


@dataclass(frozen=True)
class Cut:
    """Lists in memory, given in blocks of few users."""

    whole: TopK
    size: int

    @property
    def rows(self) -> int:
        return self.whole.rows

    @property
    def source_names(self) -> list[str]:
        return self.whole.source_names

    def blocks(self) -> Iterator[TopK]:
        users = np.array(sorted(set(self.whole.user_ids.tolist())), object)
        for start in range(0, len(users), self.size):
            rows = np.isin(self.whole.user_ids.astype(str), users[start : start + self.size].astype(str))
            topk = self.whole
            yield TopK(
                topk.user_ids[rows], topk.surfaces[rows], topk.item_ids[rows], topk.scores[rows], topk.sources[rows]
            )


def test_a_release_does_not_hang_on_how_its_users_are_cut(make_inputs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    likes = {"rich": (["i003", "i001"], np.array([2.0, 1.0], np.float32))}
    known = Segments({"newcomer": "rich", "u1": "rich", "a-first": "rich", "z-last": "rich"}, likes)
    whole = replace(make_inputs(items=60, length=40, again=5), segments=known, bought_cold={"u3": ["i057"]})
    rules = ListRules(require_stock=False, explore_places=1, explore_surfaces=frozenset({"home"}))

    def made(inputs: Any) -> Any:
        return build_content(inputs, rules, created_at=AS_OF, code_commit="c0ffee").manifest

    expected = made(whole)
    assert expected.counts["explored"] > 0
    assert expected.lists["u:home"].count == 23
    monkeypatch.setattr("jobs.publish.list_builder._USERS_AT_ONCE", 3)
    for size in (1, 7):
        assert made(replace(whole, topk=Cut(whole.topk, size))).release_id == expected.release_id
