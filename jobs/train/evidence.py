"""What the promotion gate decides on, gathered: figures of the validation cut, budgets, state of the data gates."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from jobs.quality.docs import results_folder
from jobs.settings import Settings
from jobs.train.gate import HYBRID, Evidence
from models.base import IntArray
from models.generators import Generators
from models.labelled_snapshot import LabelledSnapshot
from models.list_checks import pushed_items, segments
from models.ranker import Ranker
from models.snapshot import ItemTable
from models.trending import popular, rising
from models.validation import Judged, K, judge, judge_baselines


def gather(
    generators: Generators,
    rankers: Mapping[str, Ranker],
    reigning: Judged | None,
    snapshot: LabelledSnapshot,
    *,
    taught: Sequence[LabelledSnapshot] = (),
    validation_cut: datetime | None = None,
    red_gates: tuple[str, ...] = (),
    training_rows: float = 0.0,
    earlier_rows: tuple[float, ...] = (),
) -> Evidence:
    """Measure challenger, champion and baselines on one cut.

    Args:
        generators: fitted on the snapshot by the challenger's recipe.
        reigning: the champion judged on the same snapshot, None when there is none.
        taught: the cuts that the challenger learnt from.
        training_rows, earlier_rows: labelled pairs a cut, of the challenger and of versions before it.
    """
    histories, items = snapshot.histories, snapshot.items
    challenger = judge(generators, rankers, snapshot, with_hybrid=True)
    baselines = judge_baselines(snapshot)
    if challenger.hybrid is not None:
        baselines[HYBRID] = challenger.hybrid
    return Evidence(
        challenger=challenger,
        champion=reigning,
        baselines=baselines,
        segments=segments(histories),
        pushed=pushed_items(histories, challenger.lists, width=len(items), common=_shown_to_all(items)),
        newest_label=max((one.newest_label for one in taught if one.newest_label), default=None),
        validation_cut=validation_cut,
        size_bytes=sum(len(ranker.text().encode()) for ranker in rankers.values()),
        red_gates=red_gates,
        training_rows=training_rows,
        earlier_rows=earlier_rows,
    )


def _shown_to_all(items: ItemTable) -> tuple[IntArray, IntArray]:
    """First places of the popular and of the trending list: what strangers see, whatever a model says."""
    return popular(items.statistics)[0][:K], rising(items.statistics)[0][:K]


def red_gates(config: Settings) -> tuple[str, ...]:
    """Blocking expectations that failed on the newest batch of each table, in words; none when all are green."""
    newest: dict[str, str] = {}
    for run in sorted(results_folder(config).glob("*")):
        for stored in run.glob("*.json"):
            newest[stored.stem] = stored.read_text()
    return tuple(
        f"{table}: {one['expectation_config']['type']}({one['expectation_config']['kwargs'].get('column')})"
        for table, content in sorted(newest.items())
        for part in json.loads(content)
        for one in part["results"]
        if not one["success"] and one["expectation_config"].get("meta", {}).get("severity") == "blocking"
    )
