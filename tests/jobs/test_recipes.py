"""The recipe of a domain: built in, or a file that a person can see, break and delete."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.recipes import BUILT_IN, RecipeError, chosen_recipe, recipe_file, write_recipe
from jobs.settings import Settings
from models.recipe import FAST


def test_without_a_file_the_built_in_recipe_is_used(tmp_path: Path) -> None:
    chosen = chosen_recipe(Settings(home=tmp_path), "retail")
    assert (chosen.recipe, chosen.origin) == (FAST, BUILT_IN)
    assert chosen.tags() == {"recipe": BUILT_IN, "recipe_sha256": FAST.sha256()}


def test_a_written_recipe_is_used_until_it_is_deleted(tmp_path: Path) -> None:
    config = Settings(home=tmp_path)
    file = recipe_file(config, "retail")
    tuned = replace(FAST, als={**FAST.als, "factors": 32})
    write_recipe(file, tuned, {"judged_on": "2017-10-02"})
    chosen = chosen_recipe(config, "retail")
    assert (chosen.recipe, chosen.origin) == (tuned, str(file))
    assert json.loads(file.read_text())["sha256"] == chosen.tags()["recipe_sha256"] == tuned.sha256() != FAST.sha256()
    assert chosen_recipe(config, "other").origin == BUILT_IN
    file.unlink()
    assert chosen_recipe(config, "retail").recipe == FAST


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no recipe"),
        ("{}", "'recipe'"),
        ('{"recipe": {"speed": 1}}', "has no speed"),
        ('{"recipe": {"als": 5}}', "als of a recipe must be like"),
        ('{"recipe": {"seed": "one"}}', "seed of a recipe must be like 1, got 'one'"),
        ('{"recipe": {"sampled_negatives": true}}', "sampled_negatives of a recipe"),
        ("[]", "no recipe"),
    ],
)
def test_a_broken_file_is_refused_with_the_cure(tmp_path: Path, content: str, said: str) -> None:
    file = recipe_file(Settings(home=tmp_path), "retail")
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(RecipeError, match="delete it to train with the built-in one") as problem:
        chosen_recipe(Settings(home=tmp_path), "retail")
    assert said in str(problem.value)


def test_the_hash_says_what_changes_a_model() -> None:
    assert replace(FAST, num_threads=8, user_block=64).sha256() == FAST.sha256()
    assert replace(FAST, seed=2).sha256() != FAST.sha256()
