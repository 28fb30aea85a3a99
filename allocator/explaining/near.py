"""Which known ids one that is not known may have meant."""

from __future__ import annotations

import difflib

import pyarrow as pa
import pyarrow.compute as pc

MOST = 3  # shown
MOST_COMPARED = 5_000  # letter by letter: some milliseconds


def near_ids(word: str, ids: pa.Array) -> list[str]:
    """Return up to three of these ids (text) that one slip leads to, quoted; the likeliest first.

    One wrong, missing or doubled letter leaves the first or the second half of a word as it was, so that only ids which
    share a half are compared letter by letter: of a million, in tens of milliseconds.
    """
    plain = word.strip()
    middle = len(plain) // 2
    same = pc.equal(pc.utf8_lower(pc.utf8_ltrim(pc.utf8_trim_whitespace(ids), "0")), plain.lower().lstrip("0"))
    exact = ids.filter(same)[:MOST].to_pylist()
    length = pc.utf8_length(ids)
    alike = pc.or_(pc.starts_with(ids, plain[:middle]), pc.ends_with(ids, plain[middle:]))
    alike = pc.and_(alike, pc.less_equal(pc.abs(pc.subtract(length, len(plain))), 1))
    pool = ids.filter(alike).slice(0, MOST_COMPARED).to_pylist()
    close = difflib.get_close_matches(plain, sorted(pool), n=MOST, cutoff=0.6)
    return [repr(item) for item in dict.fromkeys([*exact, *close])][:MOST]
