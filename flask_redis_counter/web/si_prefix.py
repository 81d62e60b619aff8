"""SI prefixes of large numbers: k, M, G, T, P and E."""

from __future__ import annotations

_PREFIXES = ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (1000, "k"))


def si_prefix(number: float) -> tuple[int, str]:
    """Return the largest SI factor that is not above the number, and its prefix.

    :returns: ``(1, "")`` for a number below 1000.
    """
    for factor, prefix in _PREFIXES:
        if number >= factor:
            return factor, prefix
    return 1, ""
