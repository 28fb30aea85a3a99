"""campaign.toml: what is understood, and what is said of what is not."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.campaign import Campaign, Coupon, Header, LimitTerms, load_campaign, parse_campaign
from allocator.errors import CampaignError, UsageError
from tests.fuzzing import tried_on

FULL = """
[campaign]
name = "spring"
currency = "EUR"
budget = 50000
max_per_user = 2
exclusive = [["10off", "15off"]]

[[coupon]]
id = "10off"
kind = "fixed"
amount = 10
max_discount = 30
min_spend = 50
scope = { department = "GROCERY" }
quantity = 3000
min_quantity = 0
valid_days = 14

[[coupon]]
id = "15off"
kind = "percent"
amount = 15
max_discount = 20.5
min_quantity = 5

[[coupon]]
id = "ship"
kind = "free_shipping"

[[limit]]
name = "new users"
measure = "count"
users = { segment = ["new", "lapsed"] }
coupons = ["10off"]
at_least = 2000
at_most = 9000

[[limit]]
name = "return"
measure = { value = 1.0, cost = -0.5 }
at_least = 0
"""
COUPON = '[[coupon]]\nid = "a"\n'
LIMIT = '[[limit]]\nname = "x"\n'


def test_everything_is_understood(tmp_path: Path) -> None:
    """A file with every key gives the campaign's rules, coupons and face values, with a byte-order mark too."""
    path = tmp_path / "campaign.toml"
    path.write_bytes(b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode())
    campaign = load_campaign(path)
    assert (campaign.name, campaign.currency, campaign.budget, campaign.max_per_user) == ("spring", "EUR", 50000.0, 2)
    assert campaign.exclusive == (("10off", "15off"),)
    assert campaign.coupon_ids == ["10off", "15off", "ship"]
    assert campaign.face_values == {"10off": 10.0, "15off": 20.5}
    assert campaign.coupon[0].scope == {"department": "GROCERY"}


def test_limits_in_order() -> None:
    """The budget comes first, then quantities, minimum quantities above 0, and the file's limits."""
    limits = parse_campaign(FULL).limits()
    assert [limit.name for limit in limits] == [
        "budget",
        "quantity[10off]",
        "min_quantity[15off]",
        "new users",
        "return",
    ]
    budget, quantity, least, new, ratio = limits
    assert (budget.measure, budget.at_most) == ("cost", 50000.0)
    assert (quantity.measure, quantity.at_most, quantity.coupons) == ("count", 3000.0, ["10off"])
    assert (least.at_least, least.at_most) == (5.0, None)
    assert (new.at_least, new.at_most, new.users) == (2000.0, 9000.0, {"segment": ["new", "lapsed"]})
    assert ratio.weights == {"value": 1.0, "cost": -0.5}


def test_budget_of_the_command_line() -> None:
    """A budget given overrides the file's; without either there is no budget limit; 0 and less are refused."""
    assert parse_campaign(FULL).limits(7)[0].at_most == 7.0
    assert parse_campaign("").limits() == []
    for number in (0, -1.0, float("nan"), 2e12, 10**400):
        with pytest.raises(UsageError, match=r"the budget is .*; it must be above 0 and at most 10\^12"):
            parse_campaign(FULL).limits(number)


def test_empty_file_means_defaults() -> None:
    """Everything may be left out: no coupons named means those of the offers."""
    campaign = parse_campaign("")
    assert campaign == Campaign()
    assert campaign.coupon_ids == []
    assert campaign.max_per_user == 1


def test_users_column_as_cap() -> None:
    """A text as max_per_user names a column of the users table."""
    assert parse_campaign('[campaign]\nmax_per_user = "cap"').max_per_user == "cap"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[campaign]\nbudgte = 5", ["campaign.budgte", "unknown key", "'budget'"]),
        ("budget = 5", ["budget", "belongs under [campaign]"]),
        ('[[coupons]]\nid = "a"', ["coupons", "'coupon'"]),
        (COUPON + "min_qty = 3", ["coupon[1].min_qty ", "'min_quantity'"]),
        (LIMIT + "atmost = 3", ["limit[1].atmost", "'at_most'"]),
        ("[[coupon]]\nkind = 'fixed'\namount = 1", ["coupon[1].id is missing"]),
        ("[[limit]]\nat_most = 1", ["limit[1].name is missing"]),
        ('[coupon]\nid = "a"', ["[[coupon]]", "a table"]),
        ("coupon = 3", ["[[coupon]]", "the number 3"]),
        ("[campaign]\nbudget = '50k'", ["campaign.budget must be a number, not the text '50k'"]),
        ("[campaign]\nbudget = true", ["must be a number, not true"]),
        ("[campaign]\nbudget = 2026-01-01", ["must be a number, not a date"]),
        ("[campaign]\nbudget = 0", ["campaign.budget: the budget is 0; it must be above 0 and at most 10^12"]),
        ("[campaign]\nbudget = -5", ["the budget is -5"]),
        ("[campaign]\nbudget = nan", ["the budget is nan"]),
        ("[campaign]\nbudget = inf", ["the budget is inf"]),
        ("[campaign]\nbudget = 2e12", ["the budget is 2e+12"]),
        ("[campaign]\nmax_per_user = 0", ["campaign.max_per_user is 0", "whole number, 1 or more"]),
        ("[campaign]\nmax_per_user = 1.5", ["is 1.5", "whole number"]),
        ("[campaign]\nmax_per_user = [1]", ["name of a users column", "not a list"]),
        ('[campaign]\nexclusive = ["a", "b"]', ["campaign.exclusive", "list of groups"]),
        ("[campaign]\nname = 3", ["campaign.name must be text"]),
        (COUPON + COUPON, ["coupon[2].id", "'a' is taken by coupon[1]"]),
        (COUPON + "kind = 'percentage'", ["coupon[1].kind ('a')", "fixed, percent, free_shipping", "'percent'"]),
        (COUPON + "kind = 'percent'\namount = 120", ["coupon[1].amount ('a')", "120 percent"]),
        (COUPON + "kind = 'fixed'", ["coupon[1].amount ('a') is missing"]),
        (COUPON + "amount = 3", ["coupon[1].kind ('a') is missing"]),
        (COUPON + "min_spend = -3", ["coupon[1].min_spend ('a') is -3", "negative"]),
        (COUPON + "max_discount = nan", ["max_discount", "nan", "finite"]),
        (COUPON + "quantity = 1.5", ["quantity", "1.5", "whole number"]),
        (COUPON + f"quantity = 0x{'f' * 5000}", ["quantity", "10^12"]),
        (COUPON + "valid_days = 0", ["valid_days", "1 or more"]),
        (COUPON + "quantity = 2\nmin_quantity = 3", ["coupon[1].min_quantity ('a')", "above the quantity 2"]),
        (COUPON + "scope = 'GROCERY'", ["scope", "must be a table", "the text 'GROCERY'"]),
        (COUPON + "[campaign]\nexclusive = [['a', 'b']]", ["campaign.exclusive[1]", "unknown coupon 'b'", "known: a"]),
        (LIMIT, ["limit[1].at_most ('x')", "at_least or at_most"]),
        (LIMIT + "at_least = 5\nat_most = 3", ["limit[1].at_least ('x')", "above at_most 3"]),
        (LIMIT + "at_most = -3", ["at_most", "-3", "negative"]),
        (LIMIT + "at_most = inf", ["at_most", "inf"]),
        (LIMIT + "at_most = 3\n" + LIMIT + "at_most = 3", ["limit[2].name", "'x' is taken by limit[1]"]),
        ("[[limit]]\nname = 'budget'\nat_most = 3", ["limit[1].name", "taken by campaign.budget"]),
        (COUPON + "[[limit]]\nname = 'quantity[a]'\nat_most = 3", ["limit[1].name", "the coupon's quantity"]),
        (LIMIT + "at_most = 3\nmeasure = { cost = nan }", ["limit[1].measure ('x')", "'cost'", "nan"]),
        (LIMIT + "at_most = 3\nmeasure = {}", ["measure", "weights"]),
        (LIMIT + "at_most = 3\nusers = 'new'", ["users", "must be a table"]),
        (LIMIT + "at_most = 3\nusers = { segment = [] }", ["users", "'segment'"]),
        (LIMIT + "at_most = 3\ncoupons = []", ["coupons", "names no coupon"]),
        (COUPON + LIMIT + "at_most = 3\ncoupons = ['aa']", ["limit[1].coupons", "unknown coupon 'aa'", "mean 'a'"]),
        ("[campaign]\nbudget = \nname = 'x'", ["not a TOML file", "line 2"]),
        ("x = " + "[" * 5000, ["not a TOML file"]),
        ("x = " + "9" * 5000, ["not a TOML file"]),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    """Each fault is told with the file, the key and its place, what is wrong, and the nearest known word."""
    path = tmp_path / "spring.toml"
    path.write_text(text)
    with pytest.raises(CampaignError) as caught:
        load_campaign(path)
    assert caught.value.exit_code == 2
    said = str(caught.value)
    for word in [f"{path}: ", *words]:
        assert word in said
    assert "pydantic" not in said and "Input should" not in said


def test_all_faults_at_once() -> None:
    """A planner sees every fault of a file in one go."""
    with pytest.raises(CampaignError, match="3 faults") as caught:
        parse_campaign("[campaign]\nbudget = -1\nbudgte = 3\n[[limit]]\nat_most = 1")
    assert len(str(caught.value).splitlines()) == 4


def test_negative_floor_of_value() -> None:
    """Value may be negative, and so may its limits."""
    assert parse_campaign(LIMIT + "measure = 'value'\nat_least = -100").limits()[0].at_least == -100.0


@pytest.mark.parametrize("content", [None, "folder", b"\xff\xfe[campaign]", b"a = 1\nb = '\xff'"])
def test_unreadable(tmp_path: Path, content: bytes | str | None) -> None:
    """A missing file, a folder and text that is not UTF-8 are CampaignErrors that name the file."""
    path = tmp_path / "campaign.toml"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(CampaignError, match=r"campaign\.toml: (cannot be read|line \d is not UTF-8)"):
        load_campaign(path)


KEYS = st.sampled_from(
    [*Campaign.model_fields, *Header.model_fields, *Coupon.model_fields, *LimitTerms.model_fields, "budgte", "x"]
)
VALUES = st.sampled_from(
    [
        "1",
        "-1",
        "0.5",
        "nan",
        "inf",
        "1e400",
        "'a'",
        "''",
        "true",
        "[]",
        "['a']",
        "[['a']]",
        "{}",
        "{a=1}",
        "1979-05-27",
        "07:32:00",
        "{value=nan}",
        "'fixed'",
        "'count'",
        "0xffffffffffffffffffff",
        "[[[]]]",
        "[1]",
    ]
)


def understood_or_refused(text: str) -> None:
    """Parse; only a `CampaignError` may come of it, and what is understood gives limits."""
    try:
        campaign = parse_campaign(text)
    except CampaignError as error:
        assert str(error).startswith("campaign.toml: ")
    else:
        campaign.limits(5.0)


@tried_on(300)
@given(
    tables=st.lists(
        st.tuples(
            st.sampled_from(["", "[campaign]", "[[coupon]]", "[[limit]]", "[coupon]"]),
            st.dictionaries(KEYS, VALUES, max_size=5),
        ),
        max_size=4,
    )
)
def test_any_keys_and_values(tables: list[tuple[str, dict[str, str]]]) -> None:
    """Whatever values the keys have, a campaign is understood in full or refused in words."""
    lines = [line for head, keys in tables for line in [head, *(f"{key} = {value}" for key, value in keys.items())]]
    understood_or_refused("\n".join(lines))


@tried_on(100)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """Whatever text a file holds, it is understood or refused in words."""
    understood_or_refused(text)


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=40))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever bytes a file holds, it is understood or refused in words."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    try:
        load_campaign(path)
    except CampaignError as error:
        assert "any.toml" in str(error)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("budget = 50,000", "a number has no commas: write 50_000"),
        ('[[coupon]]\nid = "a"\n[coupon]\nid = "b"', r"write \[\[coupon\]\] above each coupon"),
    ],
)
def test_slips_that_toml_does_not_explain(line: str, words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        parse_campaign(f"[campaign]\n{line}\n")
