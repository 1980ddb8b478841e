"""Every candidate source on the validation cut, those that are not in production too: minutes, weekly or by hand.

Reads the gold features, labels and baskets of the cut, silver.products and silver.users; writes
`<home>/quality/sources.json`, which the quality report shows. The validation cut, never the one of E1: what is measured
here decides which sources lists are made from. Idempotent but for processor times.
"""

import json
import os
from dataclasses import asdict
from typing import Any

from features.ranking import GENERATORS
from jobs.catalog import GOLD
from jobs.evaluate.more_sources import more_sources, purchases_before
from jobs.evaluate.source_facts import sources_file
from jobs.recipes import chosen_recipe
from jobs.run import JobContext, NothingToDo
from jobs.snapshots import moments_of, read_histories, read_items, read_labels, read_segments
from models.cold_start import measure_cold_users
from models.generators import Generators
from models.labelled_snapshot import truth_matrix
from models.source_quality import HYBRID, measure_history, measure_hybrid, measure_sources, users_with_new

_AT_MOST = 1024


def main(context: JobContext) -> None:
    """Measure and keep; `--option users=N` changes how many users are measured.

    Raises:
        NothingToDo: there are no features yet, or no past cut among them.
    """
    lake = context.lake
    built = lake.committed_inputs(GOLD["gold.user_features"])
    if not built:
        raise NothingToDo("no features yet: gold.build_features comes first")
    cuts = moments_of(lake, GOLD["gold.training_set"])
    if not cuts:
        raise NothingToDo("no past cut has labels yet: that takes ten weeks of history")
    cut = cuts[-1]
    recipe = chosen_recipe(context.config, context.domain).recipe
    items = read_items(lake, cut, min_users=recipe.min_item_users)
    everybody = read_histories(lake, cut, items)
    truth = truth_matrix(read_labels(lake, cut), everybody.user_ids, items)
    rows = users_with_new(everybody, items, truth, at_most=int(context.options.get("users", _AT_MOST)))
    histories, wanted = everybody.take(rows), truth[rows]
    context.progress(f"{len(rows)} users and {len(items)} items as of {cut.isoformat()}")
    generators = Generators.fit(everybody, items, recipe)
    sources = {name: generators.source(name) for name in GENERATORS}
    log = purchases_before(lake, cut)
    sources |= more_sources(lake, context.config, cut, everybody, items, log=log)
    context.progress(f"measuring {len(sources)} sources")
    found = measure_sources(sources, histories, items, wanted)
    hybrid = measure_hybrid(generators, histories, wanted)
    own = measure_history(histories, items, wanted)
    result: dict[str, Any] = {
        "as_of": cut.isoformat(),
        "users": len(rows),
        "hybrid": hybrid[HYBRID],
        "history": None if own is None else own.as_dict(),
        "sources": {
            name: one.as_dict() | {"hybrid_without": hybrid.get(name), "production": name in GENERATORS}
            for name, one in found.items()
        },
    }
    context.progress("users cut down to a few baskets")
    cold = measure_cold_users(
        log, everybody, items, truth,
        as_of=cut.timestamp(), segments=read_segments(lake), recipe=recipe,
    )  # fmt: skip
    result["cold"] = {label: asdict(one) for label, one in cold.items()}
    file = sources_file(context.config.home)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    temporary.write_text(json.dumps(result, indent=1))
    temporary.replace(file)
    context.report.update(
        as_of=result["as_of"],
        users=len(rows),
        recall_300={name: round(one.recall[300], 4) for name, one in found.items()},
        hybrid=round(hybrid[HYBRID], 4),
        cold={label: {name: round(value, 4) for name, value in one.ndcg.items()} for label, one in cold.items()},
        sources_file=str(file),
    )
