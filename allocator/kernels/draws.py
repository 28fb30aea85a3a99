"""Random numbers that are functions of what they are for: (key, number, stream) -> uniform.

No state is carried along, so a user's draws do not depend on the order of users, on threads, or on what was drawn
before. Two campaigns under the same key share every user's luck, which pairs them.
"""

from __future__ import annotations

import math

import numpy as np

from allocator.kernels.compiling import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
S27, S30, S31, S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
UNIT = 1.0 / 9007199254740992.0  # 2^-53


@njit(nogil=True, cache=True, inline="always")
def mixed(x):  # type: ignore[no-untyped-def]
    """Scramble 64 bits (SplitMix64: Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195)."""
    x = (x ^ (x >> S30)) * MIX_1
    x = (x ^ (x >> S27)) * MIX_2
    return x ^ (x >> S31)


@njit(nogil=True, cache=True, inline="always")
def key_of(key, number):  # type: ignore[no-untyped-def]
    """Return the key of one user, period or run under a wider key; all uint64."""
    return mixed(key ^ mixed(np.uint64(number) * GOLDEN + GOLDEN))


@njit(nogil=True, cache=True, inline="always")
def uniform(key, stream):  # type: ignore[no-untyped-def]
    """Return the uniform number of a stream, above 0 and below 1."""
    bits = mixed(key + np.uint64(stream + 1) * GOLDEN)
    return (np.float64(bits >> S11) + 0.5) * UNIT


@njit(nogil=True, cache=True, inline="always")
def normal(key, stream):  # type: ignore[no-untyped-def]
    """Return a standard normal number (Box and Muller 1958, doi:10.1214/aoms/1177706645); uses 2 streams."""
    return math.sqrt(-2.0 * math.log(uniform(key, stream))) * math.cos(2.0 * math.pi * uniform(key, stream + 1))


@njit(nogil=True, cache=True)
def poisson(mean, u, most):  # type: ignore[no-untyped-def]
    """Return the Poisson number at a uniform `u`, at most `most`: rises with `mean` while `u` stays."""
    chance = math.exp(-mean)
    reached, n = chance, 0
    while u >= reached and n < most:
        n += 1
        chance *= mean / n
        reached += chance
    return n


def run_key(seed: int, run: int) -> np.uint64:
    """Return the key of one run under a seed."""
    with np.errstate(over="ignore"):
        return np.uint64(_key(np.uint64(seed), run))


@njit(cache=True)
def _key(seed, run):  # type: ignore[no-untyped-def]
    return key_of(mixed(seed + GOLDEN), run)
