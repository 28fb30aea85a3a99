"""Hash tables of whole numbers: what numbers ids, and tells which baskets were seen, in a stream of any length."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from allocator.kernels.compiling import njit

EMPTY = np.int32(-1)


@njit(nogil=True, cache=True)
def mix(key):  # type: ignore[no-untyped-def]
    """Spread a number over 64 bits: the finaliser of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    z = np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def find(slots, known, keys, out):  # type: ignore[no-untyped-def]
    """Write each key's number into `out`, -1 where it is not known. `slots` holds numbers; `known[number]` its key."""
    mask = np.uint64(slots.size - 1)
    for e in range(keys.size):
        key = keys[e]
        place = mix(key) & mask
        while slots[place] != -1 and known[slots[place]] != key:
            place = (place + np.uint64(1)) & mask
        out[e] = slots[place]


@njit(nogil=True, cache=True)
def insert(slots, known, count, keys, out):  # type: ignore[no-untyped-def]
    """Number keys, new ones last; stop where the table is half full. Return (numbers in use, keys done)."""
    mask = np.uint64(slots.size - 1)
    most = min(slots.size // 2, known.size)
    for e in range(keys.size):
        key = keys[e]
        place = mix(key) & mask
        while slots[place] != -1 and known[slots[place]] != key:
            place = (place + np.uint64(1)) & mask
        if slots[place] == -1:
            if count >= most:
                return count, e
            known[count] = key
            slots[place] = count
            count += 1
        out[e] = slots[place]
    return count, keys.size


@njit(nogil=True, cache=True)
def rebuild(slots, known, count):  # type: ignore[no-untyped-def]
    """Fill empty slots with the first `count` numbers."""
    mask = np.uint64(slots.size - 1)
    for number in range(count):
        place = mix(known[number]) & mask
        while slots[place] != -1:
            place = (place + np.uint64(1)) & mask
        slots[place] = number


@njit(nogil=True, cache=True)
def refill(old, fresh):  # type: ignore[no-untyped-def]
    """Move the keys of a set (0: an empty slot) into a larger, empty one."""
    mask = np.uint64(fresh.size - 1)
    for e in range(old.size):
        key = old[e]
        if key != 0:
            place = mix(key) & mask
            while fresh[place] != 0:
                place = (place + np.uint64(1)) & mask
            fresh[place] = key


@njit(nogil=True, cache=True)
def chain(keys, more):  # type: ignore[no-untyped-def]
    """Fold one more column of numbers into keys `(n,)` uint64, in place; keys are never 0."""
    for e in range(keys.size):
        key = mix(keys[e] ^ mix(more[e]))
        keys[e] = key if key != 0 else np.uint64(1)


@njit(nogil=True, cache=True)
def sample(keys, slots, counts, used, shift, begin):  # type: ignore[no-untyped-def]
    """Count keys whose lowest `shift` bits are 0 in a table (0: an empty slot), from key `begin` on.

    Stops where the table is half full. Returns (keys in the table, the key to go on with).
    """
    mask, low = np.uint64(slots.size - 1), (np.uint64(1) << np.uint64(shift)) - np.uint64(1)
    for e in range(begin, keys.size):
        if keys[e] & low:
            continue
        place = mix(keys[e]) & mask
        while slots[place] != 0 and slots[place] != keys[e]:
            place = (place + np.uint64(1)) & mask
        if slots[place] == 0:
            if 2 * used >= slots.size:
                return used, e
            slots[place] = keys[e]
            used += 1
        counts[place] += 1
    return used, keys.size


@njit(nogil=True, cache=True)
def thin(slots, counts, shift):  # type: ignore[no-untyped-def]
    """Keep the keys whose lowest `shift` bits are 0; return (slots, counts, keys kept)."""
    mask, low = np.uint64(slots.size - 1), (np.uint64(1) << np.uint64(shift)) - np.uint64(1)
    fresh, numbers, used = np.zeros_like(slots), np.zeros_like(counts), 0
    for e in range(slots.size):
        key = slots[e]
        if key == 0 or key & low:
            continue
        place = mix(key) & mask
        while fresh[place] != 0:
            place = (place + np.uint64(1)) & mask
        fresh[place], numbers[place] = key, counts[e]
        used += 1
    return fresh, numbers, used


@njit(nogil=True, cache=True)
def repeats(counts):  # type: ignore[no-untyped-def]
    """Return how many of these counts' units are not the first."""
    total = np.int64(0)
    for e in range(counts.size):
        if counts[e] > 1:
            total += np.int64(counts[e]) - np.int64(1)
    return total


def of_texts(texts: pa.Array) -> np.ndarray:
    """Return a hash of each text, `(n,)` int64; 0 where it is missing."""
    plain = texts.cast(pa.large_string())
    if not len(plain):
        return np.empty(0, np.int64)
    _, offsets, data = plain.buffers()
    starts = np.frombuffer(offsets, np.int64)[plain.offset : plain.offset + len(plain) + 1]
    out = np.empty(len(plain), np.int64)
    _hash_bytes(starts, np.frombuffer(data or b"", np.uint8), out)
    out[np.asarray(plain.is_null())] = 0
    return out


@njit(nogil=True, cache=True)
def _hash_bytes(start, data, out):  # type: ignore[no-untyped-def]
    """FNV-1a of each stretch of bytes (Fowler, Noll, Vo: draft-eastlake-fnv), mixed once more."""
    for e in range(out.size):
        value = np.uint64(0xCBF29CE484222325)
        for place in range(start[e], start[e + 1]):
            value = (value ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
        out[e] = np.int64(mix(value))
