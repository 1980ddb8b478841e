"""Columns of an outsider's file -> arrays: ids as text, times as seconds, weights as numbers.

What cannot be used is refused with the column, what was expected, what was found and what to do.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (0.0, 1.0))
"""From this number on a time is in parts of a second: seconds reach 1e11 in the year 5138, milliseconds passed it in
1973; micro- and nanoseconds likewise."""

_SPREAD = 1e30
"""Of weights: sums of 32-bit floats end at 1e38."""

_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


class InputError(ValueError):
    """A file or an option that an evaluation cannot use: says what, what was expected, what was got and the cure."""


def seconds_of(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds since the epoch of numbers in seconds, milli-, micro- or nanoseconds, all in the same unit."""
    size = float(np.median(np.abs(numbers))) if len(numbers) else 0.0
    return numbers / next(parts for least, parts in _UNITS if size >= least)


def ids(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.str_]:
    """A column of ids as text.

    Raises:
        InputError: on ids that are absent, empty, fractional, not text or of a nested type.
    """
    column = _plain(file, name, column)
    if isinstance(column.type, pa.UuidType):
        text = [None if one is None else str(one) for one in column.to_pylist()]
        column = pa.chunked_array([pa.array(text, pa.large_string())])
    if pa.types.is_nested(column.type):
        raise InputError(f"{file}: expected text or whole numbers in {name!r}, got {column.type}: flatten the column")
    if pa.types.is_floating(column.type):
        column = _whole(file, name, column)
    if pa.types.is_decimal(column.type) and column.type.scale > 0:  # 7.00 is 7, as in the exports that write floats
        column = _without_fraction(file, name, column)
    try:
        text = pc.cast(column, pa.large_string())
    except pa.ArrowInvalid as problem:
        raise InputError(
            f"{file}: expected ids that are text in {name!r}, got {column.type} that is not UTF-8 ({problem}): "
            "encode the column"
        ) from problem
    empty = np.asarray(pc.equal(pc.utf8_trim_whitespace(text), ""))
    if empty.any():
        raise InputError(
            f"{file}: expected an id in every row of {name!r}, got {int(empty.sum())} blank ones, the first at row "
            f"{int(np.flatnonzero(empty)[0])}: drop those rows"
        )
    if pc.any(pc.match_substring(text, "\0")).as_py():
        raise InputError(f"{file}: expected ids of printable text in {name!r}, got NUL characters: clean the column")
    encoded = text.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    known = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=np.str_)
    found: NDArray[np.str_] = known[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


def _plain(file: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without a dictionary, and without gaps."""
    if column.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(column)))[0])
        raise InputError(
            f"{file}: expected a value in every row of {name!r}, got {column.null_count} empty ones, the first at row "
            f"{row}: drop those rows"
        )
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _whole(file: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Integers with a missing value somewhere become floats in many exports: whole numbers are taken back."""
    numbers = column.to_numpy(zero_copy_only=False)
    bad = ~np.isfinite(numbers) | (numbers != np.floor(numbers)) | (np.abs(numbers) >= 2**53)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{file}: expected text or whole numbers in {name!r}, got {numbers[row]} at row {row} "
            f"({int(bad.sum())} such rows): write the ids as text or integers"
        )
    return pc.cast(column, pa.int64())


def _without_fraction(file: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return pc.cast(column, pa.decimal128(38, 0))
    except pa.ArrowInvalid as problem:
        raise InputError(
            f"{file}: expected text or whole numbers in {name!r}, got {column.type} with fractions ({problem}): write "
            "the ids as text or integers"
        ) from problem


def seconds(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of times as seconds since the epoch; those without a time zone count as UTC.

    Raises:
        InputError: on times that are absent, of mixed units, or none at all.
    """
    column = _plain(file, name, column)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micros = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(micros, dtype=np.float64) / 1e6
    if pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            column = pc.cast(pc.cast(column, pa.string()), pa.float64())
        except pa.ArrowInvalid:
            return _parsed(file, name, column)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(
            f"{file}: expected seconds, milliseconds, ISO 8601 or timestamps in {name!r}, got {kind}: convert it"
        )
    numbers = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        raise InputError(f"{file}: expected finite numbers in {name!r}, got {bad} that are not: drop those rows")
    if _written_dates(numbers):
        raise InputError(
            f"{file}: expected seconds, milliseconds, ISO 8601 or timestamps in {name!r}, got numbers that read as "
            f"dates, like {numbers[0]:.0f}: write them as 2017-11-27, with the time of day where it is known"
        )
    return _of_one_unit(file, name, numbers)


def _written_dates(numbers: NDArray[np.float64]) -> bool:
    """Whether all numbers are dates as people write them, 20171127 or 20171127053000.

    As seconds they would be of August 1970, as milliseconds of the years from 2572 on, and every one a day by chance.
    """
    if len(numbers) == 0 or not ((numbers == np.floor(numbers)) & (np.abs(numbers) < 1e15)).all():
        return False
    whole = numbers.astype(np.int64)
    for scale in (1, 10**6):
        date, clock = np.divmod(whole, scale)
        month, day = date // 100 % 100, date % 100
        dates = (date >= 19_000_101) & (date <= 21_001_231) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
        times = (clock < 240_000) & (clock // 100 % 100 < 60) & (clock % 100 < 60)
        if (dates & times).all():
            return True
    return False


def _of_one_unit(file: Path, name: str, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    bounds = np.array(sorted(least for least, _ in _UNITS))
    unit = np.searchsorted(bounds, np.abs(numbers), side="right")
    usual = int(np.bincount(unit).argmax())
    odd = np.flatnonzero(unit != usual)
    if len(odd):
        raise InputError(
            f"{file}: expected one unit of time in {name!r}, got {numbers[odd[0]]:.0f} at row {odd[0]} among numbers "
            f"like {float(np.median(numbers)):.0f} ({len(odd)} such rows): convert or drop them"
        )
    return seconds_of(numbers)


def _parsed(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pandas as pd

    text = column.to_pandas()
    moments = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    bad = moments.isna()
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise InputError(
            f"{file}: expected seconds, milliseconds, ISO 8601 or timestamps in {name!r}, got {text.iloc[row]!r} at "
            f"row {row} ({int(bad.sum())} such rows): convert the column"
        )
    return np.asarray(moments.astype("int64"), dtype=np.float64) / 1e9


def weights(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of weights.

    Raises:
        InputError: on weights that are no numbers, not finite, negative or out of all proportion.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        values = np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
        raise InputError(f"{file}: expected numbers in {name!r}, got {problem}: convert the column") from problem
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{file}: expected finite weights of at least 0 in {name!r}, got {values[row]} at row {row} "
            f"({int(bad.sum())} such rows): fix or drop them"
        )
    counted = values[values > 0]
    if len(counted) and counted.max() > _SPREAD * counted.min():
        raise InputError(
            f"{file}: expected weights at most {_SPREAD:g} times each other in {name!r}, got {counted.min():g} and "
            f"{counted.max():g}: drop those that are out of proportion"
        )
    return values


def described(file: Path, name: str, column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of descriptions as text, None where there is none; of a list (genres) its parts joined by `|`.

    Raises:
        InputError: on descriptions that are no text.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        if not any(is_one(column.type) for is_one in _LISTS):
            found: NDArray[Any] = column.cast(pa.string()).to_numpy(zero_copy_only=False)
            return found
        lists = column.cast(pa.list_(pa.string())).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as problem:
        told = " ".join(str(problem).split())[:200]
        raise InputError(
            f"{file}: expected text, or lists of text, in {name!r}, got {column.type} ({told}): convert the column, or "
            "leave it out"
        ) from problem
    joined = ("|".join(part for part in parts if part) if parts else "" for parts in lists)
    return np.array([text or None for text in joined], dtype=object)
