"""What the shop pushes, for those who like its kind: promotions as a candidate source of its own."""

from dataclasses import dataclass

import numpy as np

from models.generators import group_sums
from models.snapshot import Floats, Histories, ItemTable

_EVERYBODYS_TASTE = 0.1  # purchases' worth of taste for every type, so that strangers are told of promotions too


@dataclass(frozen=True)
class PromotedSource:
    """Stores that push an item (mailer, its front pages, displays) times the user's taste for its product type.

    Of the newest week that is known at the cut: a week's promotions reach the lake on the day that the week begins, so
    at a Monday's cut those of the coming week are unknown and the week that has just ended speaks for it.
    """

    items: ItemTable

    def scores(self, histories: Histories) -> Floats:
        statistics, types = self.items.statistics, self.items.groups["type"]
        stores = sum(
            np.nan_to_num(statistics[name]) for name in ("mailer_stores", "front_mailer_stores", "display_stores")
        )
        taste = group_sums(histories.matrix(histories.statistics["decay_112d"], len(self.items)), types)
        return np.asarray(np.log1p(taste + _EVERYBODYS_TASTE)[:, types] * np.log1p(stores), dtype=np.float32)
