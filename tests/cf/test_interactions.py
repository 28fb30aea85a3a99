from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cf.errors import EventsError, UsageError
from cf.events import EventFiles, Events
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.progress import progress_bar
from tests.cf.worlds import log, market, tiny


def same(a: Interactions, b: Interactions) -> bool:
    columns = ("start", "item", "time", "quantity", "money", "kind")
    return (
        a.users == b.users
        and a.items == b.items
        and a.now == b.now
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in columns if getattr(a, name) is not None)
    )


def test_ids_of_any_type_are_numbered_in_order_of_appearance_and_remembered() -> None:
    x = log(tiny())
    assert x.users.values.tolist() == ["ann", "bob", "cat"]
    assert x.items.values.tolist() == ["milk", "bread", "eggs", "tea"]
    assert x.items.find(["tea", "salt"]).tolist() == [3, -1]
    with pytest.raises(UsageError, match="'salt'"):
        x.items.numbers(["salt"], "item")
    with pytest.raises(EventsError, match="integers, but those known are text"):
        x.items.find([3])
    tuples = np.empty(2, object)
    tuples[:] = [("a", 1), ("b", 2)]
    assert len(Ids(tuples)) == 2


def test_a_weight_is_the_sum_of_decayed_visits() -> None:
    x = log(tiny(), now=41)
    weights = x.matrix(Weighting(half_life=10.0)).toarray()
    assert weights[0, 0] == pytest.approx(0.5**4.0 + 0.5**3.3 + 0.5**2.6)
    assert x.matrix(Weighting(repeats="once")).toarray()[0].tolist() == [1, 1, 0, 0]
    assert x.matrix(Weighting(amount="money")).toarray()[0].tolist() == [3, 4, 0, 0]
    assert x.matrix(Weighting(repeats="log")).toarray()[0, 0] == pytest.approx(np.log(4))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(1, 300), st.sampled_from(["visits", "quantity", "money"]))
def test_weights_equal_a_plain_sum_over_events(seed: int, half_life: float, amount: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    events = Events(
        rng.integers(0, 5, n),
        rng.integers(0, 7, n),
        rng.integers(0, 20, n),
        rng.integers(1, 4, n),
        rng.integers(0, 9, n),
    )
    x = Interactions.of(events, now=21, keep_duplicates=True)
    got = x.matrix(Weighting(half_life=half_life, amount=amount)).toarray()  # type: ignore[arg-type]
    table = pd.DataFrame(
        {"u": events.user, "i": events.item, "t": events.time, "q": events.quantity, "m": events.money}
    )
    table["w"] = {"visits": 1.0, "quantity": table["q"], "money": table["m"]}[amount] * 0.5 ** (
        (21 - table["t"]) / half_life
    )
    if amount == "visits":
        table = table.drop_duplicates(["u", "i", "t"])
    for (u, i), part in table.groupby(["u", "i"]):
        assert got[x.users.find([u])[0], x.items.find([i])[0]] == pytest.approx(part["w"].sum(), rel=1e-5)


def test_bad_events_are_counted_by_kind_and_take_no_part() -> None:
    nan = float("nan")
    events = Events(
        np.array(["a", "a", "a", "a", "a", None, "a", "a", "a"], object),
        np.array(["x", "x", "x", "x", "x", "x", "rare", "x", "x"], object),
        np.array([1.0, 99.0, nan, 2.0, 3.0, 4.0, 5.0, 1.0, 6.0]),
        quantity=np.array([1, 1, 1, -1, 1, 1, 1, 1, 1]),
        money=np.array([1.0, 1, 1, 1, -1, 1, 1, 1, 1]),
        kind=np.array(["purchase"] * 8 + ["steal"], object),
    )
    x = Interactions.of(events, now=10, items=["x", "y"])
    assert x.faults.counts == {
        "time in the future": 1,
        "time missing or before 1970": 1,
        "quantity not positive, or infinite": 1,
        "money negative, missing or infinite": 1,
        "user or item missing": 1,
        "unknown item": 1,
        "duplicate": 1,
        "unknown kind": 1,
    }
    assert len(x) == 1
    assert "8 of 9 events left out" in str(x.faults)


def test_kinds_weigh_what_they_are_given() -> None:
    events = Events(np.zeros(3, int), np.array([1, 1, 2]), np.arange(3), kind=np.array(["view", "purchase", "view"]))
    x = log(events, now=9)
    assert x.matrix(Weighting(kinds={"view": 0.1, "purchase": 1.0})).toarray().tolist() == [
        [pytest.approx(1.1), pytest.approx(0.1)]
    ]
    assert x.matrix(Weighting(kinds={"purchase": 1.0})).nnz == 1
    assert len(x.of_kind("purchase")) == 1
    with pytest.raises(UsageError, match="'wish'"):
        Weighting(kinds={"wish": 1.0})


def test_time_cuts_are_half_open_and_now_moves_with_them() -> None:
    x = log(tiny(), now=50)
    assert len(x.before(30)) == 7
    assert x.before(30).now == 30 * 86_400
    assert len(x.between(3, 20)) == 4
    assert x.visits.tolist() == [4, 2, 1]
    last = x.last_visits(1)
    assert last.visits.tolist() == [1, 1, 1]
    assert last.items.values[last.item[: last.start[1]]].tolist() == ["bread"]
    assert len(x.last_visits([0, 9, 0])) == 3


def test_parquet_in_batches_gives_what_arrays_give(tmp_path: Path) -> None:
    events = market()
    table = pa.table(
        {
            "user_id": events.user,
            "item_id": events.item,
            "time": events.time,
            "money": events.money,
            "quantity": events.quantity,
        }
    )
    half = table.num_rows // 2
    pq.write_table(table.slice(0, half), tmp_path / "1.parquet", row_group_size=500)
    pq.write_table(table.slice(half), tmp_path / "2.parquet")
    assert same(Interactions.of(EventFiles(tmp_path, rows=337), now=300), Interactions.of(events, now=300))
    assert same(Interactions.of(Events.from_table(table.to_pandas()), now=300), Interactions.of(events, now=300))


def test_an_update_gives_what_a_build_from_everything_gives() -> None:
    events = market()
    early = np.asarray(events.time) < 120

    def part(chosen: np.ndarray) -> Events:
        return Events(*(np.asarray(getattr(events, n))[chosen] for n in ("user", "item", "time", "quantity", "money")))

    whole = Interactions.of([part(early), part(~early)], now=300)
    updated = Interactions.of(part(early), now=120).updated(part(~early), now=300)
    assert same(whole, updated)
    again = updated.updated(part(~early), now=300)
    assert same(whole, again)
    assert again.faults.counts["duplicate"] == int((~early).sum())


def test_the_order_of_events_changes_nothing_but_numbers() -> None:
    events = market(users=40)
    shuffled = np.random.default_rng(1).permutation(len(events))
    other = Events(
        events.user[shuffled], events.item[shuffled], events.time[shuffled], money=np.asarray(events.money)[shuffled]
    )
    a = Interactions.of(Events(events.user, events.item, events.time, money=events.money), now=300)
    b = Interactions.of(other, now=300).aligned(a.items)
    weights = a.matrix(Weighting(half_life=30.0))[a.users.find(b.users.values)]
    assert np.allclose(weights.toarray(), b.matrix(Weighting(half_life=30.0)).toarray())


def test_what_cannot_be_read_is_refused_with_words(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="no column 'time'"):
        Events.from_table(pd.DataFrame({"user": [1], "item": [2], "when": [3]}))
    with pytest.raises(EventsError, match="item has 1 entries"):
        Events(np.arange(2), np.arange(1), np.arange(2))
    with pytest.raises(EventsError, match="read twice"):
        Interactions.of(iter([tiny()]))
    with pytest.raises(EventsError, match="no Parquet file"):
        EventFiles(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    with pytest.raises(EventsError, match=r"x\.parquet cannot be read"):
        Interactions.of(EventFiles(tmp_path))
    with pytest.raises(EventsError, match="some events have the columns"):
        Interactions.of([tiny(), Events(np.array(["a"]), np.array(["b"]), np.arange(1))])


def test_visits_from_either_end_make_up_the_whole() -> None:
    x = log(market(users=50), now=300)
    for visits in (0, 1, 3):
        last, rest = x.last_visits(visits), x.without_last_visits(visits)
        assert len(last) + len(rest) == len(x)
        assert np.array_equal(last.visits + rest.visits, x.visits)
        assert (last.visits <= visits).all()


def test_progress_is_told_of_what_is_done_and_how_much_there_is() -> None:
    told: list[tuple[str, int, int]] = []
    Interactions.of([tiny(), tiny()], now=50, progress=lambda *said: told.append(said))
    assert told[-1] == ("placing events", 20, 20)
    with progress_bar() as progress:
        Interactions.of(tiny(), now=50, progress=progress)


def test_times_with_a_zone_are_brought_to_utc_and_text_is_refused_with_a_way_out() -> None:
    stamps = pd.to_datetime(["2020-01-01T02:00", "2020-01-02T02:00"]).tz_localize("Europe/Berlin")
    x = Interactions.of(Events(np.array([1, 1]), np.array([1, 2]), stamps))
    assert x.time.tolist() == [1577840400, 1577926800]
    with pytest.raises(EventsError, match=r"pandas.to_datetime"):
        Interactions.of(Events(np.array([1]), np.array([1]), np.array(["2020-01-01"])))


def test_infinite_amounts_are_faults_and_a_window_before_1970_is_empty() -> None:
    two = np.array([1, 1])
    x = Interactions.of(Events(two, two, np.array([1.0, 2.0]), quantity=np.array([1.0, np.inf])), now=3)
    assert x.faults.total == 1
    assert len(x.before(-30)) == 0
