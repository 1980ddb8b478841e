"""The versions of gold that a model version names are those that its training read."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.catalog import GOLD
from jobs.recipes import ChosenRecipe
from jobs.train.fit_models import InputsMovedError, _Training, _versions
from jobs.train.reigning import Reigning
from jobs.train.version_page import version_tags
from models.als import ALSRecommender
from models.recipe import Recipe

AS_OF = datetime(2017, 11, 27, 5, tzinfo=UTC)


def test_gold_that_is_written_meanwhile_stops_the_training_and_names_what_moved() -> None:
    versions = dict.fromkeys(GOLD, 3)
    lake: Any = SimpleNamespace(version=lambda spec: versions[spec.name])
    context: Any = SimpleNamespace(lake=lake)
    nobody = Reigning(None, is_champion=False, is_aliased=False)
    recipe = ChosenRecipe(Recipe(), "built-in")
    training = _Training(context, AS_OF, [AS_OF], recipe, nobody, _versions(lake), ALSRecommender)
    training._check_inputs()
    versions["gold.topk"] = 4  # lists, which no training reads
    training._check_inputs()
    versions["gold.pair_features"] = 4
    with pytest.raises(InputsMovedError, match=r"gold\.pair_features from version 3 to 4"):
        training._check_inputs()
    assert version_tags(training.inputs, [], [], AS_OF)["delta.gold.pair_features"] == "3"
