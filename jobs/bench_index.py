"""`sluice bench index`: flat, inverted lists and adaptive LSH on synthetic vectors of a large catalogue.

The real catalogue's 17,000 factors are searched exactly in a tenth of a millisecond; this shows what happens where that
is no longer so. Times are given as a share of Flat's on the same machine and in the same run.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jobs.marked_text import put_between
from jobs.settings import ROOT, settings
from models.base import FloatArray
from models.index_choice import (
    RECALL_TARGET,
    Sample,
    fit_ivf,
    fit_lsh,
    ivf_lists,
    measure,
)
from models.ivf_index import IvfIndex
from models.lsh_index import LshIndex
from models.vector_index import FlatIndex, one_thread

MARKERS = ("<!-- index:start -->", "<!-- index:end -->")
README = ROOT / "models" / "README.md"

TABLES = (4, 8, 16)
BITS = (12, 14, 16)
NPROBES = (1, 2, 4, 8, 16, 32)
SCANS = (0.01, 0.05)  # shares of the vectors at which recall is shown, whatever the target


@dataclass(frozen=True)
class Statistics:
    """How the vectors are drawn: a tree of centres, each vector around a centre of the last level.

    A centre is `likeness` x its parent + the rest in a random direction, scaled to length 1; parents are drawn with
    lognormal shares (sigma 1), so that some product types are large. The length of a vector is lognormal like the item
    norms of the real ALS factors, whose mean direction has length 0.27 as the root's pull has here.
    """

    dimensions: int = 64
    levels: tuple[tuple[int, float], ...] = ((200, 0.27), (4000, 0.7))  # centres, likeness to their parent
    likeness: float = 0.85
    log_norm: tuple[float, float] = (-1.46, 0.57)
    seed: int = 1


def _unit(values: FloatArray) -> FloatArray:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float32)


def synthetic_vectors(count: int, statistics: Statistics = Statistics()) -> FloatArray:
    """Vectors of shape (count, dimensions); the same for the same count and statistics."""
    draw = np.random.default_rng(statistics.seed)
    found = _unit(draw.standard_normal((1, statistics.dimensions), dtype=np.float32))
    for size, likeness in (*statistics.levels, (count, statistics.likeness)):
        shares = draw.lognormal(0, 1, len(found))
        parents = draw.choice(len(found), size, p=shares / shares.sum())
        noise = _unit(draw.standard_normal((size, statistics.dimensions), dtype=np.float32))
        found = _unit(likeness * found[parents] + np.float32(np.sqrt(1 - likeness**2)) * noise)
    lengths = draw.lognormal(*statistics.log_norm, count).astype(np.float32)
    return np.asarray(found * lengths[:, None], dtype=np.float32)


def _say(text: str) -> None:
    Console(stderr=True).print(text, style="dim", highlight=False)


def _at_scan(index: LshIndex, share: float) -> LshIndex:
    """The index at a fixed share of the vectors, whatever its recall."""
    return index.first_tables(index.tables, scan=max(1, int(share * len(index))), probes=index.probes)


def _lsh_rows(vectors: FloatArray, tuning: Sample, held_out: Sample) -> Iterator[dict[str, Any]]:
    for bits in BITS:
        begun = time.monotonic()
        hashed = LshIndex.build(vectors, tables=max(TABLES), bits=bits)
        seconds = (time.monotonic() - begun) / max(TABLES)
        for tables in TABLES:
            option, tuned = fit_lsh(hashed.first_tables(tables, scan=1, probes=1), tuning, held_out)
            at = {f"recall_at_{share:.0%}": measure(_at_scan(tuned, share), held_out).recall for share in SCANS}
            _say(f"lsh {option.parameters}: recall {option.recall}")
            yield {**asdict(option), **at, "build_seconds": round(seconds * tables, 1)}


def _ivf_rows(vectors: FloatArray, tuning: Sample, held_out: Sample) -> Iterator[dict[str, Any]]:
    begun = time.monotonic()
    index = IvfIndex.build(vectors, lists=ivf_lists(len(vectors)))
    seconds = round(time.monotonic() - begun, 1)
    tuned = fit_ivf(index, tuning, held_out)[0].parameters["nprobe"]
    for nprobe in sorted({*NPROBES, tuned}):
        if nprobe <= index.lists:
            option = measure(index.probing(nprobe), held_out)
            yield {**asdict(option), "build_seconds": seconds, "tuned": nprobe == tuned}


def _nearness(flat: FlatIndex, sample: Sample) -> dict[str, float]:
    """Mean cosine of the 1st, 10th and 100th neighbour: what makes a set easy or hard."""
    ranks = [rank for rank in (1, 10, 100) if rank < len(flat)]
    return {str(rank): round(float(np.mean([near[rank - 1] for near in sample.scores])), 3) for rank in ranks}


def measure_all(count: int) -> dict[str, Any]:
    """Rows of the table, each with its ratios to Flat, and which one the builder would pick."""
    _say(f"{count} synthetic vectors")
    vectors = synthetic_vectors(count)
    flat = FlatIndex.build(vectors)
    with one_thread():
        tuning, held_out = Sample.draw(flat, 100, seed=1)
    rows = [{**asdict(measure(flat, held_out)), "build_seconds": 0.0}]
    rows += _ivf_rows(vectors, tuning, held_out)
    rows += _lsh_rows(vectors, tuning, held_out)
    for row in rows:
        row["p99_to_flat"] = round(row["p99_ms"] / rows[0]["p99_ms"], 4)
        row["bytes_to_flat"] = round(row["size_bytes"] / rows[0]["size_bytes"], 3)
        row["scanned_share"] = round(row["scanned"] / count, 5)
    # The other rows of IVF are there for the curve: the builder tries what it tuned.
    passing = [row for row in rows if row["passes"] and row.get("tuned", True)]
    chosen = min(passing, key=lambda row: (row["cost"], row["size_bytes"]))
    cheapest = min((row for row in passing if row["kind"] == "lsh"), key=lambda row: row["cost"], default=None)
    return {
        "vectors": count,
        "statistics": asdict(Statistics()),
        "cosine_of_neighbour": _nearness(flat, held_out),
        "recall_target": RECALL_TARGET,
        "chosen": {"kind": chosen["kind"], "parameters": chosen["parameters"]},
        "cheapest_lsh": None if cheapest is None else cheapest["parameters"],
        "rows": rows,
    }


def table_markdown(results: dict[str, Any]) -> str:
    """The table of models/README.md."""
    rows, near = results["rows"], results["cosine_of_neighbour"]
    seen = [key for key in ("recall_at_1%", "recall_at_5%") if any(key in row for row in rows)]
    lines = [
        f"{results['vectors']:,} synthetic vectors of {results['statistics']['dimensions']} dimensions "
        f"(`jobs/bench_index.py`, seed {results['statistics']['seed']}); mean cosine of the "
        + ", ".join(f"{rank}. neighbour {value:.2f}" for rank, value in near.items())
        + f". Flat's p99 is {rows[0]['p99_ms']:.1f} ms of one core; the other times are shares of it.",
        "",
        "| index | recall@100 | vectors read | p99 / Flat | bytes / Flat | cost | " + "".join(
            f"recall@100 at {key.removeprefix('recall_at_')} read | " for key in seen
        ),
        "|---|---|---|---|---|---|" + "---|" * len(seen),
    ]  # fmt: skip
    for row in rows:
        mark = (
            "**"
            if row["kind"] == results["chosen"]["kind"] and row["parameters"] == results["chosen"]["parameters"]
            else ""
        )
        lines.append(
            f"| {mark}{_name(row['kind'], row['parameters'])}{mark} | {row['recall']:.3f} | {row['scanned_share']:.2%} "
            f"| {row['p99_to_flat']:.3f} | {row['bytes_to_flat']:.2f} | {row['cost']:,.0f} | "
            + "".join(f"{row[key]:.3f} | " if key in row else "| " for key in seen)
        )
    lines += ["", _verdict(results)]
    return "\n".join(line.rstrip() for line in lines)


def _name(kind: str, parameters: dict[str, int]) -> str:
    shown = {
        "ivf": "IVF, {lists} lists, nprobe {nprobe}",
        "lsh": "LSH, {tables} tables x {bits} bits, scan {scan:,}",
        "flat": "Flat",
    }
    return shown[kind].format(**parameters)


def _verdict(results: dict[str, Any]) -> str:
    chosen, lsh = results["chosen"], results["cheapest_lsh"]
    said = f"The builder picks {_name(chosen['kind'], chosen['parameters'])}: the least cost with recall@100 >= "
    said += f"{results['recall_target']}. "
    return said + (f"Of the hash tables: {_name('lsh', lsh)}." if lsh else "No hash tables reach that.")


def write_readme(results: dict[str, Any], readme: Path = README) -> None:
    """Put the table between its markers."""
    put_between(readme, MARKERS, table_markdown(results))


def _show(results: dict[str, Any]) -> None:
    grid = Table(title=f"{results['vectors']:,} vectors, recall@100 against Flat", title_justify="left")
    for column in ("index", "recall", "read", "p99 / Flat", "bytes / Flat", "cost", "p99, ms"):
        grid.add_column(column)
    for row in results["rows"]:
        grid.add_row(
            _name(row["kind"], row["parameters"]), f"{row['recall']:.3f}", f"{row['scanned_share']:.2%}",
            f"{row['p99_to_flat']:.3f}", f"{row['bytes_to_flat']:.2f}", f"{row['cost']:,.0f}", f"{row['p99_ms']:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(grid)
    console.print(_verdict(results), highlight=False, soft_wrap=True)


def run_index_bench(count: int, *, as_json: bool, readme: bool) -> int:
    """Measure, keep in the home folder, show; `readme` writes the table of models/README.md."""
    results = measure_all(count)
    target = settings().home / "bench-index.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=2))
    print(json.dumps(results, indent=2)) if as_json else _show(results)
    if readme:
        write_readme(results)
    return 0
