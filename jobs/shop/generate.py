"""What the history does not hold and a shop needs: titles, prices, stock and names. Seeded, pure, documented.

Every column made here is listed in the shop's `generated_columns` table and in its column comments. Values hang on
the id alone (a seeded hash) or on purchases before the end of week 46, never on the order or number of rows.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs.shop.seed import SEED
from jobs.shop.titles import base_title, unique_titles

_RECENT_PURCHASES = 15  # of one product: enough for a median that one odd coupon cannot move
_OUT_OF_STOCK_SHARE = 0.03
_MEAN_STOCK = 40.0
_FIRST_NAMES = (
    "Alex", "Ariel", "Avery", "Bailey", "Blake", "Cameron", "Casey", "Charlie", "Dakota", "Devon", "Drew", "Eden",
    "Elliot", "Emerson", "Finley", "Frankie", "Harper", "Hayden", "Jamie", "Jesse", "Jordan", "Jules", "Kai", "Kendall",
    "Lane", "Logan", "Marley", "Morgan", "Noel", "Parker", "Peyton", "Quinn", "Reese", "Riley", "River", "Robin",
    "Rowan", "Sage", "Sam", "Sasha", "Shawn", "Skyler", "Taylor", "Toby",
)  # fmt: skip
_LAST_NAMES = (
    "Abbott", "Barnes", "Bell", "Brooks", "Carter", "Chen", "Cole", "Cruz", "Diaz", "Ellis", "Evans", "Fischer",
    "Flores", "Garcia", "Gray", "Hayes", "Howard", "Hughes", "Jensen", "Kelly", "Khan", "Kim", "Lopez", "Marsh",
    "Mills", "Morris", "Nguyen", "Novak", "Owens", "Park", "Patel", "Price", "Reed", "Rivera", "Rossi", "Shaw",
    "Silva", "Stone", "Turner", "Vega", "Walsh", "Ward", "Weber", "Young",
)  # fmt: skip


def uniform(ids: npt.NDArray[np.int64], stream: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) that hang on the id and the stream alone (splitmix64)."""
    state = ids.astype(np.uint64) + np.uint64((SEED * 1_000_003 + stream * 7_919) % 2**63)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        state = state * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    fractions: npt.NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) / 2.0**53
    return fractions


def current_prices(
    catalog: pd.DataFrame, purchases: pd.DataFrame, *, quantity_not_count: frozenset[str]
) -> "pd.Series[float]":
    """Robust recent paid unit price of every product of the catalog.

    Args:
        catalog: product_id, department, product_category, product_type.
        purchases: product_id, quantity, sales_value in order of time.
        quantity_not_count: departments whose quantity is not a count; they have no unit price.

    Returns:
        Indexed like `catalog`, in cents' precision, at least 0.01; NaN where no honest price exists. A product that
        was never paid for takes the median of its type, then category, then department.
    """
    paid = purchases[(purchases["quantity"] > 0) & (purchases["sales_value"] > 0)]
    unit = (paid["sales_value"] / paid["quantity"]).groupby(paid["product_id"]).tail(_RECENT_PURCHASES)
    own = unit.groupby(paid["product_id"].reindex(unit.index)).median()
    counted = ~catalog["department"].isin(quantity_not_count)
    price = catalog["product_id"].map(own).where(counted)
    known = price.copy()
    for level in ("product_type", "product_category", "department"):
        price = price.fillna(known.groupby(catalog[level]).transform("median"))
    return price.where(counted).clip(lower=0.01).round(2)


def stock_levels(product_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Units in stock: 3 products in 100 have none, the others an exponential number with mean 40, at least 1."""
    empty = uniform(product_ids, 1) < _OUT_OF_STOCK_SHARE
    level = 1 + np.floor(-_MEAN_STOCK * np.log1p(-uniform(product_ids, 2)))
    stock: npt.NDArray[np.int64] = np.where(empty, 0, level).astype(np.int64)
    return stock


def build_products(
    catalog: pd.DataFrame, purchases: pd.DataFrame, *, quantity_not_count: frozenset[str]
) -> pd.DataFrame:
    """The shop's products, in order of product_id, without updated_at.

    Args:
        catalog: the package's products.
        purchases: every purchase before the end of week 46, in order of time.
        quantity_not_count: departments whose quantity is not a count.
    """
    rows = catalog.sort_values("product_id", ignore_index=True)
    codes = ("product_type", "product_category", "department", "brand", "package_size")
    described = rows[list(codes)].itertuples(index=False, name=None)
    bases = [base_title(*[None if pd.isna(code) else code for code in row]) for row in described]
    makers = rows["manufacturer_id"].astype(str).where(rows["brand"] != "Private", "")
    as_they_are = ("department", "brand", "product_category", "product_type", "package_size")
    return pd.DataFrame(
        {
            "product_id": rows["product_id"],
            "title": unique_titles(bases, makers.tolist()),
            **{name: rows[name] for name in as_they_are},
            "manufacturer_id": rows["manufacturer_id"],
            "price": current_prices(rows, purchases, quantity_not_count=quantity_not_count),
            "stock": stock_levels(rows["product_id"].to_numpy()),
            "is_active": True,
        }
    )


def display_name(user_id: int) -> str:
    """A made-up name of a user; names repeat, ids do not."""
    digest = hashlib.sha256(f"{SEED}:{user_id}".encode()).digest()
    first = _FIRST_NAMES[int.from_bytes(digest[:4], "big") % len(_FIRST_NAMES)]
    return f"{first} {_LAST_NAMES[int.from_bytes(digest[4:8], 'big') % len(_LAST_NAMES)]}"


def build_users(user_ids: "pd.Series[int]", demographics: pd.DataFrame) -> pd.DataFrame:
    """The shop's users, in order of user_id, without updated_at; most have no demographics."""
    users = pd.DataFrame({"user_id": sorted(user_ids)})
    users["display_name"] = [display_name(user_id) for user_id in users["user_id"]]
    return users.merge(demographics.rename(columns={"household_id": "user_id"}), how="left", on="user_id")
