"""The shop's products as they are now, by column. Read with delta-rs: no session, no JVM."""

from dataclasses import dataclass

from features.domains.spec import ListRules
from jobs.catalog import SILVER
from jobs.lake import Lake
from models.mailing import MailingCatalog


@dataclass(frozen=True)
class Products:
    """silver.products by column."""

    item_ids: list[str]
    titles: list[str | None]
    departments: list[str | None]
    categories: list[str | None]
    prices: list[float | None]
    stock: list[int | None]
    active: list[bool | None]


def read_products(lake: Lake) -> Products:
    """The catalog as it is now: stock and prices are of today, whatever the as_of of the lists.

    Raises:
        LakeError: there is no silver.products yet, naming its writer.
    """
    names = ["item_id", "title", "department", "category", "price", "stock", "is_active"]
    rows = lake.rows(SILVER["products"], names)
    return Products(*(rows[name].to_pylist() for name in names))


def mailing_catalog(products: Products, rules: ListRules) -> MailingCatalog:
    """The products as a mailing sees them: with what the business rules say of each."""
    return MailingCatalog.of(
        rules,
        item_ids=products.item_ids,
        departments=products.departments,
        categories=products.categories,
        prices=products.prices,
        stock=products.stock,
        active=products.active,
    )
