"""Human-readable, unique product titles from the catalog's codes: "Bread: Italian/French, Private Label, 22 oz".

The catalog has types in capitals, cut at 30 characters, and package sizes with stray codes. Pure and deterministic:
the same catalog always gives the same titles.
"""

import re
from collections import Counter
from collections.abc import Sequence

# Shortened words of the catalog that a reader would stumble on; applied word by word.
_WORDS = {
    "BKNGWARES": "Bakeware", "BRD": "Breaded", "BSKTS": "Baskets", "BTL": "Bottle", "CAR": "Carbonated",
    "CARB": "Carbonated", "CHIX": "Chicken", "CHOCOCLATE": "Chocolate", "CKTLS": "Cocktails", "CNTRL": "Control",
    "COOKNG": "Cooking", "DAN": "Danish", "DECAFFINATED": "Decaffeinated", "DNRS": "Dinners", "DRNK": "Drink",
    "DRNRS": "Drainers", "EXCH": "Exchange", "EXCL": "Excluding", "FD": "Food", "FLVRD": "Flavored", "FRSH": "Fresh",
    "FRZ": "Frozen", "FRZN": "Frozen", "GDS": "Goods", "INCL": "Including", "INFANT": "Infant", "JCE": "Juice",
    "LINAMENTS": "Liniments", "LOAVE": "Loaf", "MISC": "Miscellaneous", "MULT": "Multi", "NON": "Non", "PK": "Pack",
    "PKG": "Packaged", "PLSTC": "Plastic", "PREPACK": "Prepacked", "PROTIEN": "Protein", "REFRGRATD": "Refrigerated",
    "REFRIG": "Refrigerated", "RW": "Raw", "SHERBTS": "Sherbets", "SPLY": "Supplies", "SFT": "Soft", "SNGL": "Single",
    "SPECILATY": "Specialty", "SS": "Single-Serve", "STK": "Stick", "STR": "Storage", "SW": "Sweet", "THN": "Than",
    "WHL": "Whole", "YNG": "Young", "RTS": "Ready-to-Serve", "IQF": "IQF", "BBQ": "BBQ", "GM": "GM", "TV": "TV",
    "DVD": "DVD", "CD": "CD", "PSE": "PSE", "QSR": "Quick-Service", "ML": "ml", "IN": "in", "AND": "and", "OF": "of",
    "FOR": "for", "THE": "the", "WITH": "with", "OR": "or",
}  # fmt: skip
# Whole types whose words ran together.
_TYPES = {
    "BEERALEMALT LIQUORS": "BEER, ALE & MALT LIQUORS",
    "MEXICAN SAUCESSALSAPICANTEE": "MEXICAN SAUCES, SALSA & PICANTE",
}
_BRANDS = {"Private": "Private Label", "National": "National Brand"}
_WORD = re.compile(r"[A-Za-z][A-Za-z']*")
_STRAY_LETTERS = re.compile(r"^(?:\(?[A-Z]\)?\s+)+(?=[\d.(])")  # "B D  16 OZ": shelf codes before the size
_STRAY_NUMBER = re.compile(r"^\(?\d{5,}\)?\s*")  # "997874  PK": an article number before the unit


def _spaced(text: str) -> str:
    text = re.sub(r"\s*([:&])\s*", r"\1 ", text).replace("& ", " & ")
    return re.sub(r"\s+", " ", text).strip()


def _closed(text: str) -> str:
    """Types are cut at 30 characters: a bracket that was never closed goes, with what follows it."""
    while text.count("(") > text.count(")"):
        text = text[: text.rindex("(")]
    return text.rstrip(" -/&,:")


def _title_word(match: re.Match[str]) -> str:
    word = match.group(0)
    return _WORDS.get(word.upper(), word.capitalize())


def readable_type(product_type: str) -> str:
    """A product type in words.

    >>> readable_type("BREAD:ITALIAN/FRENCH")
    'Bread: Italian/French'
    >>> readable_type("FRZN SS PREMIUM ENTREES/DNRS/N")
    'Frozen Single-Serve Premium Entrees/Dinners'
    >>> readable_type("CANDY BARS (SINGLES)(INCLUDING")
    'Candy Bars (Singles)'
    """
    text = _TYPES.get(product_type.strip(), product_type)
    if len(product_type) >= 30:
        text = re.sub(r"/[A-Z]$", "", text)  # one letter is all that the cut left of the last word
    text = _WORD.sub(_title_word, _spaced(_closed(text)))
    return text[:1].upper() + text[1:]


def readable_package(package_size: str) -> str:
    """A package size in lower case without the codes before it.

    >>> readable_package("B D  16 OZ"), readable_package("997874  PK"), readable_package("1/2 GAL")
    ('16 oz', '', '1/2 gal')
    """
    text = re.sub(r"\s+", " ", package_size).strip()
    text = _STRAY_NUMBER.sub("", _STRAY_LETTERS.sub("", text)).lower()
    return text if re.search(r"\d", text) else ""


def base_title(
    product_type: str | None, category: str | None, department: str | None, brand: str | None, package_size: str | None
) -> str:
    """Type (or category, or department), brand and package, joined by commas.

    A type of one word ("PREMIUM", "SEASONAL") says little without its category, which then goes before it.

    >>> base_title("PREMIUM", "ICE CREAM/MILK/SHERBTS", "GROCERY", "Private", "16 OZ")
    'Ice Cream/Milk/Sherbets: Premium, Private Label, 16 oz'
    """
    name = readable_type(product_type or category or department or "")
    if product_type and category and len(_WORD.findall(product_type)) == 1:
        general = readable_type(category)
        name = name if name.lower()[:5] in general.lower() else f"{general}: {name}"
    parts = (name, _BRANDS.get(brand or "", brand or ""), readable_package(package_size or ""))
    return ", ".join(part for part in parts if part)


def unique_titles(bases: Sequence[str], makers: Sequence[str]) -> list[str]:
    """Titles in the order given: where several products share a base the maker is added, then a number.

    An empty maker (the shop's own brand) is not added.

    >>> unique_titles(["Milk", "Milk", "Milk", "Eggs"], ["7", "8", "8", "9"])
    ['Milk, Maker 7', 'Milk, Maker 8, No. 1', 'Milk, Maker 8, No. 2', 'Eggs']
    """
    shared = Counter(bases)
    titles = [
        f"{base}, Maker {maker}" if maker and shared[base] > 1 else base
        for base, maker in zip(bases, makers, strict=True)
    ]
    repeated = Counter(titles)
    seen: Counter[str] = Counter()
    numbered = []
    for title in titles:
        seen[title] += 1
        numbered.append(f"{title}, No. {seen[title]}" if repeated[title] > 1 else title)
    return numbered
