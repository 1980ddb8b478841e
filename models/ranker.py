"""The LightGBM ranker: trained deterministically, kept as native text, refused when its features are not ours."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from features.ranking import RANKER_FEATURES
from models.base import ArtefactError, IntArray
from models.snapshot import Floats
from models.training_rows import TrainingRows

BASE_SETTINGS: dict[str, Any] = {
    "min_data_in_leaf": 100,
    # Many features say nearly the same: fewer per tree is faster and, on the validation cut, no worse.
    "feature_fraction": 0.25,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 127,
    "lambdarank_truncation_level": 25,
    # Where rows carry positions: enough to hold back the factor of a position that few were shown at, and no more.
    "lambdarank_position_bias_regularization": 0.001,
    # Same data and seed -> same bytes, on any number of threads.
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}

_FIRST_PART = 4
"""One over the share of the trees that tells which candidates can still win. Measured on the real data with lists of
100: of their entries 0.02 in a thousand are not among a user's 250 best by then, 0.3 not among the 200 best."""

_NAMES = "feature_names="
"""Before the names of a booster's features, in LightGBM's native text."""


class Ranker:
    """One LightGBM booster over `RANKER_FEATURES`; any number of threads may score with it at once."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster
        names = tuple(booster.feature_name())
        if names != RANKER_FEATURES:
            raise ArtefactError(_differing(names))
        self._parts = self._split()

    @classmethod
    def train(
        cls,
        rows: TrainingRows,
        settings: dict[str, Any],
        *,
        seed: int,
        num_threads: int,
        stopping: TrainingRows | None = None,
        patience: int = 30,
    ) -> Self:
        """Train on rows; `settings` are LightGBM's own names, `num_iterations` among them.

        Where rows carry positions, lambdarank learns a factor of each position beside the trees (Unbiased LambdaMART,
        Hu et al. 2019), so that an item does not look good for having been shown on top. Other objectives know none.

        Args:
            stopping: rows of another cut; training ends when their nDCG@20 has not risen for `patience` trees, and
                the trees after the best are dropped.

        Raises:
            ModelError: when the rows cannot be learnt from.
        """
        import lightgbm

        rows.check()
        chosen = {**BASE_SETTINGS, **settings, "seed": seed, "num_threads": num_threads}
        iterations = int(chosen.pop("num_iterations"))
        weighted = chosen["objective"] == "binary"
        positions = rows.positions if chosen["objective"] == "lambdarank" else None
        data = _dataset(rows, chosen, weighted=weighted, positions=positions)
        if stopping is None:
            return cls(lightgbm.train(chosen, data, num_boost_round=iterations))
        chosen |= {"metric": "ndcg", "eval_at": [20]}
        booster = lightgbm.train(
            chosen,
            data,
            num_boost_round=iterations,
            valid_sets=[_dataset(stopping, chosen, weighted=False, reference=data)],
            callbacks=[lightgbm.early_stopping(patience, verbose=False)],
        )
        return cls.from_text(booster.model_to_string(num_iteration=booster.best_iteration))

    @property
    def objective(self) -> str:
        """LightGBM's name of what the scores were trained for; the raw scores of `binary` alone are log-odds."""
        told = next(line for line in self.text().splitlines() if line.startswith("objective="))
        return told.removeprefix("objective=").split()[0]

    @property
    def trees(self) -> int:
        """Trees that scores are made of."""
        return int(self._booster.current_iteration())

    def score(self, features: Floats) -> Floats:
        """Raw scores of rows; higher is better."""
        return _raw_scores(self._booster, features).astype(np.float32)

    def score_best(self, features: Floats, choose: Callable[[Floats], IntArray]) -> Floats:
        """Raw scores of the rows that can still win; `-inf` for the others.

        Most candidates of a list are far behind after a quarter of the trees already, so only those that `choose`
        picks then are carried through the rest. A chosen row's score is that of `score`.

        Args:
            choose: given the scores of all rows by the first trees, the positions of the rows to go on with.
        """
        if self._parts is None:
            return self.score(features)
        first, rest = self._parts
        begun = _raw_scores(first, features)
        near = choose(begun.astype(np.float32))
        scores = np.full(len(features), -np.inf, dtype=np.float32)
        scores[near] = begun[near] + _raw_scores(rest, features[near])
        return scores

    def _split(self) -> tuple[Any, Any] | None:
        """The first trees and the rest as boosters of their own; None where there are too few for two parts.

        LightGBM keeps the range of trees that a prediction asks for in the booster, not in the call: two threads that
        ask one booster for different ranges get each other's (found here by lists that changed from run to run).
        """
        import lightgbm

        first = self.trees // _FIRST_PART
        if first == 0:
            return None
        ranges = ((0, first), (first, self.trees - first))
        texts = [self._booster.model_to_string(start_iteration=start, num_iteration=count) for start, count in ranges]
        return lightgbm.Booster(model_str=texts[0]), lightgbm.Booster(model_str=texts[1])

    def contributions(self, features: Floats) -> NDArray[np.float64]:
        """SHAP values of rows: shape (rows, features + 1), the last column is the expected score."""
        return np.asarray(self._booster.predict(features, pred_contrib=True, num_threads=1), dtype=np.float64)

    def importance(self) -> dict[str, float]:
        """Share of the total gain by feature, largest first."""
        gains = np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)
        shares = gains / max(float(gains.sum()), 1e-12)
        order = np.argsort(-shares, kind="stable")
        return {RANKER_FEATURES[at]: float(shares[at]) for at in order}

    def text(self) -> str:
        """The model in LightGBM's native text."""
        return str(self._booster.model_to_string())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """A ranker from native text; raises ArtefactError when it is not one, or its features are not ours."""
        import lightgbm

        try:
            booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as problem:
            raise ArtefactError(f"not a LightGBM model in native text: {problem}") from problem
        return cls(booster)


def _raw_scores(booster: Any, features: Floats) -> NDArray[np.float64]:
    """Sum of all trees of a booster, one row a score."""
    if len(features) == 0:
        return np.empty(0, dtype=np.float64)
    return np.asarray(booster.predict(features, raw_score=True, num_threads=1), dtype=np.float64)


def _differing(names: tuple[str, ...]) -> str:
    """How a booster's features differ from ours, and what to do."""
    pairs = enumerate(zip(names, RANKER_FEATURES, strict=False))
    differing = next((place for place, (theirs, ours) in pairs if theirs != ours), None)
    where = (
        f"first at position {differing}"
        if differing is not None
        else f"{len(names)} against {len(RANKER_FEATURES)} names"
    )
    return (
        f"the booster's features differ from features.ranking.RANKER_FEATURES ({where}): "
        "score with the code it was trained with, or retrain"
    )


def _dataset(
    rows: TrainingRows,
    settings: dict[str, Any],
    *,
    weighted: bool,
    reference: Any = None,
    positions: NDArray[np.int32] | None = None,
) -> Any:
    import lightgbm

    return lightgbm.Dataset(
        rows.features,
        label=rows.labels,
        weight=rows.weights / rows.weights.mean() if weighted else None,
        group=rows.groups,
        feature_name=list(RANKER_FEATURES),
        reference=reference,
        position=positions,
        params={"max_bin": settings["max_bin"], "verbosity": -1, "num_threads": settings["num_threads"]},
    )


def save_rankers(rankers: dict[str, Ranker], directory: Path, *, facts: dict[str, Any]) -> None:
    """Write `booster-<surface>.txt` and `ranker.json` (features, hashes, `facts`) into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for surface, ranker in rankers.items():
        content = ranker.text().encode()
        (directory / f"booster-{surface}.txt").write_bytes(content)
        hashes[surface] = hashlib.sha256(content).hexdigest()
    manifest = {**facts, "features": list(RANKER_FEATURES), "sha256": hashes}
    (directory / "ranker.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))


def read_manifest(directory: Path) -> dict[str, Any]:
    """`ranker.json` of a folder, without its boosters (LightGBM takes over a second to import).

    Raises:
        ArtefactError: when there is none.
    """
    manifest_file = directory / "ranker.json"
    if not manifest_file.exists():
        raise ArtefactError(f"{directory} holds no ranker.json: train first, or pass the folder of a trained ranker")
    try:
        manifest: dict[str, Any] = json.loads(manifest_file.read_text())
        manifest["sha256"].items()
    except (ValueError, TypeError, LookupError, AttributeError) as problem:
        raise ArtefactError(
            f"{manifest_file} is no manifest of rankers: {type(problem).__name__}: {problem}"
        ) from problem
    return manifest


def check_rankers(directory: Path, surfaces: Sequence[str]) -> dict[str, Any]:
    """The manifest of rankers that can score: files as they were saved, and features that are ours.

    What `load_rankers` would refuse, said before anything is made with them and without importing LightGBM.

    Raises:
        ArtefactError: a surface has no booster, bytes have changed or features are not ours.
    """
    manifest = read_manifest(directory)
    hashes = manifest.get("sha256", {})
    if lacking := sorted(set(surfaces) - set(hashes)):
        raise ArtefactError(f"{directory} holds no ranker of {', '.join(lacking)}: expected one of each of {surfaces}")
    for surface in sorted(hashes):
        text = _saved(directory, surface, hashes[surface]).decode(errors="replace")
        named = next((line for line in text.splitlines() if line.startswith(_NAMES)), "").removeprefix(_NAMES).split()
        if tuple(named) != RANKER_FEATURES:
            raise ArtefactError(f"booster-{surface}.txt: {_differing(tuple(named))}")
    return manifest


def check_files(directory: Path) -> None:
    """Raise ArtefactError unless every booster that `ranker.json` names is there as it was saved."""
    for surface, expected in read_manifest(directory)["sha256"].items():
        _saved(directory, surface, expected)


def _saved(directory: Path, surface: str, expected: str) -> bytes:
    """Bytes of a booster as they were saved; raises ArtefactError on others."""
    file = directory / f"booster-{surface}.txt"
    if not file.exists():
        raise ArtefactError(f"{directory} lacks {file.name}, which ranker.json names")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ArtefactError(f"{file.name} is not the file that was saved: its sha256 differs from ranker.json")
    return content


def load_rankers(directory: Path) -> tuple[dict[str, Ranker], dict[str, Any]]:
    """What `save_rankers` wrote: rankers by surface, and the manifest; hashes are checked before parsing.

    Raises:
        ArtefactError: on missing files, changed bytes or features that are not ours.
    """
    manifest = read_manifest(directory)
    rankers = {}
    for surface, expected in sorted(manifest["sha256"].items()):
        rankers[surface] = Ranker.from_text(_saved(directory, surface, expected).decode())
    return rankers, manifest


def ranker_number(directory: Path) -> int:
    """One number that says which rankers a folder holds: it follows from `ranker.json`, which names their hashes.

    Raises:
        ArtefactError: when there is none.
    """
    read_manifest(directory)
    return int(hashlib.sha256((directory / "ranker.json").read_bytes()).hexdigest()[:15], 16)
