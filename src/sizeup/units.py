"""The only place that knows GB from GiB and TFLOP/s from FLOP/s: parsing at the way in, formatting at the way out.

Inside the package everything is bytes, seconds, FLOP, FLOP/s, bytes/s and dollars.
"""

from __future__ import annotations

import re

from sizeup.errors import UserError

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
KB, MB, GB, TB = 10**3, 10**6, 10**9, 10**12
KILO, MEGA, GIGA, TERA, PETA = 10**3, 10**6, 10**9, 10**12, 10**15
SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY = 60, 3600, 86400
PETAFLOP_S_DAY = PETA * SECONDS_PER_DAY
"""One petaflop/s-day: an amount of work [FLOP], 10^15 FLOP/s for a day."""

_BYTE_UNITS = {
    "b": 1, "kb": KB, "mb": MB, "gb": GB, "tb": TB, "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB,
}  # fmt: skip
_COUNT_UNITS = {"": 1, "k": KILO, "m": MEGA, "g": GIGA, "b": GIGA, "t": TERA}
_NUMBER = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)")


def parse_bytes(text: str) -> int:
    """Return the bytes that ``text`` names; the unit is required because GB and GiB differ by 7 %.

    >>> parse_bytes("80GiB"), parse_bytes("24 GB")
    (85899345920, 24000000000)
    """
    match = _NUMBER.fullmatch(text.strip())
    unit = match.group(2).lower() if match else ""
    if not match or unit not in _BYTE_UNITS:
        raise UserError(f'"{text}" is not an amount of memory', hint="write it like 80GiB or 24GB")
    return round(float(match.group(1).replace(",", "").replace("_", "")) * _BYTE_UNITS[unit])


def parse_count(text: str) -> int:
    """Return the count that ``text`` names: parameters, tokens, steps.

    >>> parse_count("70b"), parse_count("1.5T"), parse_count("8k")
    (70000000000, 1500000000000, 8000)
    """
    match = _NUMBER.fullmatch(text.strip())
    unit = match.group(2).lower() if match else "?"
    if not match or unit not in _COUNT_UNITS:
        raise UserError(f'"{text}" is not a count', hint="write it like 70b, 1.5T, 300B or 8192")
    return round(float(match.group(1).replace(",", "").replace("_", "")) * _COUNT_UNITS[unit])


def parse_tokens(text: str) -> int:
    """Return the tokens that ``text`` names; ``k`` means 1,024 here, as in "an 8k context".

    >>> parse_tokens("8k"), parse_tokens("131072"), parse_tokens("1m")
    (8192, 131072, 1048576)
    """
    match = _NUMBER.fullmatch(text.strip())
    factor = {"": 1, "k": KIB, "m": MIB}.get(match.group(2).lower()) if match else None
    if not match or factor is None:
        raise UserError(f'"{text}" is not a number of tokens', hint="write it like 8192, 8k or 1m")
    return round(float(match.group(1).replace(",", "").replace("_", "")) * factor)


def significant(value: float, *, digits: int = 3) -> str:
    """Return ``value`` with three significant digits and no exponent.

    >>> significant(14.957), significant(0.7531), significant(123456), significant(0.99989), significant(0)
    ('15.0', '0.753', '123,456', '1.00', '0')
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    magnitude = len(str(int(abs(rounded)))) if abs(rounded) >= 1 else 0
    if magnitude >= digits:
        return f"{value:,.0f}"
    if magnitude:
        return f"{value:.{digits - magnitude}f}"
    return f"{rounded:.{digits + _leading_zeros(abs(rounded))}f}".rstrip("0")


def _leading_zeros(value: float) -> int:
    zeros = 0
    while value < 0.1 and zeros < 12:
        value, zeros = value * 10, zeros + 1
    return zeros


def format_gib(value_bytes: float) -> str:
    """Return bytes as binary units.

    >>> format_gib(16_060_522_496), format_gib(131072), format_gib(2.5e12), format_gib(1000 * MIB)
    ('14.96 GiB', '128 KiB', '2.27 TiB', '0.977 GiB')
    """
    for unit, size in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        scaled = value_bytes / size
        # 1,016 GiB is 0.99 TiB: no more than three digits before the point
        if abs(scaled) < 1000 / KIB:
            continue
        if size >= GIB and abs(scaled) >= 1:
            return f"{scaled:,.2f} {unit}"
        return f"{scaled:,.0f} {unit}" if scaled == int(scaled) else f"{significant(scaled)} {unit}"
    return f"{value_bytes:,.0f} B"


def format_gb(value_bytes: float) -> str:
    """Return bytes as decimal units, as vendors and papers print them.

    >>> format_gb(24e9), format_gb(350e6)
    ('24 GB', '350 MB')
    """
    for unit, size in (("TB", TB), ("GB", GB), ("MB", MB), ("KB", KB)):
        if abs(value_bytes) >= size:
            return f"{float(significant(value_bytes / size).replace(',', '')):,g} {unit}"
    return f"{value_bytes:,.0f} B"


def format_count(value: float) -> str:
    """Return a count in short form.

    >>> format_count(8_030_261_248), format_count(17_500_000), format_count(999_885_952), format_count(950)
    ('8.03B', '17.5M', '1.00B', '950')
    """
    for unit, size in (("T", TERA), ("B", GIGA), ("M", MEGA), ("k", KILO)):
        # 999.9 million is 1.00B, not 1,000M
        if abs(value) >= size * 0.9995:
            return f"{significant(value / size)}{unit}"
    return f"{value:,.0f}"


def format_seconds(value: float) -> str:
    """Return a duration in the unit a person would use.

    >>> format_seconds(0.0123), format_seconds(90), format_seconds(2.5 * 86400)
    ('12.3 ms', '1.50 min', '2.50 days')
    """
    for unit, size in (("days", SECONDS_PER_DAY), ("h", SECONDS_PER_HOUR), ("min", SECONDS_PER_MINUTE), ("s", 1)):
        if value >= size:
            return f"{significant(value / size)} {unit}"
    return f"{significant(value * 1000)} ms" if value >= 1e-3 else f"{significant(value * 1e6)} us"


def format_dollars(value: float) -> str:
    """Return dollars, cents only where they matter.

    >>> format_dollars(0.8048), format_dollars(55.04), format_dollars(123456.7)
    ('$0.80', '$55.04', '$123,457')
    """
    return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"


FORMATTERS = {
    "bytes": format_gib,
    "parameters": lambda value: f"{value:,.0f}",
    "seconds": format_seconds,
    "dollars": format_dollars,
}


def format_value(value: float, unit: str) -> str:
    """Return ``value`` formatted by its unit's rule, or with the unit behind it."""
    formatter = FORMATTERS.get(unit)
    if formatter:
        return formatter(value)
    number = f"{value:,}" if isinstance(value, int) else significant(value)
    return f"{number} {unit}".strip()
