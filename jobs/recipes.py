"""The recipe that training uses: the tuned one of a domain's file, else the built-in one.

The file, `<home>/tuning/<domain>/recipe.json`, is JSON that a person can read, and delete to go back to the built-in.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.run import RefusedError
from jobs.settings import Settings
from models.base import ModelError
from models.recipe import Recipe

BUILT_IN = "built-in"


class RecipeError(RefusedError):
    """The recipe file of a domain cannot be used."""


@dataclass(frozen=True)
class ChosenRecipe:
    """A recipe and where it comes from.

    Attributes:
        origin: `built-in`, or the file's path.
    """

    recipe: Recipe
    origin: str

    def tags(self) -> dict[str, str]:
        """For a model version: which recipe made it."""
        return {"recipe": self.origin, "recipe_sha256": self.recipe.sha256()}


def recipe_file(config: Settings, domain: str) -> Path:
    """Where a domain's tuned recipe lies."""
    return config.home.resolve() / "tuning" / domain / "recipe.json"


def chosen_recipe(config: Settings, domain: str) -> ChosenRecipe:
    """The recipe to train with.

    Raises:
        RecipeError: the file is there and holds no recipe.
    """
    file = recipe_file(config, domain)
    return ChosenRecipe(read_recipe(file), str(file)) if file.exists() else ChosenRecipe(Recipe(), BUILT_IN)


def read_recipe(file: Path) -> Recipe:
    """The recipe of a file that `write_recipe` wrote.

    Raises:
        RecipeError: the file is not there or holds no recipe.
    """
    try:
        stored = json.loads(file.read_text())
        return Recipe.from_dict(stored["recipe"])
    except (OSError, ValueError, KeyError, TypeError, ModelError) as problem:
        raise RecipeError(
            f"{file} holds no recipe ({problem}): delete it to train with the built-in one, or `sluice tune` again"
        ) from problem


def write_recipe(file: Path, recipe: Recipe, facts: dict[str, Any]) -> None:
    """Write a recipe with its hash and what is to be known about it, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"recipe": recipe.as_dict(), "sha256": recipe.sha256(), **facts}
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    temporary.replace(file)
