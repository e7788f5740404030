"""What formulas and conditions come to, held against Python's own; and what is said of slips."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from udfs.expressions import MAX_DEPTH, MAX_LENGTH, Expression, ExpressionError, compiled

NUMBERS = ("clicks", "views", "rate", "hour")
TEXTS = ("device", "country")


def larger(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(one > other, one, other)


FUNCTIONS: dict[str, Callable[..., NDArray[np.float64]]] = {"larger": larger, "root": np.sqrt}


def read(text: str) -> Expression:
    return compiled(text, numbers=NUMBERS, texts=TEXTS, functions=FUNCTIONS)


def refused(text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        read(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


COLUMNS = {
    "clicks": np.array([0, 1, 4]),
    "views": np.array([0, 2, 5]),
    "rate": np.array([-1.5, 0.0, 2.5]),
    "hour": np.array([-1, 9, 23]),
    "device": np.array(["", "mobile", "desktop"], dtype=np.object_),
    "country": np.array(["DE", "", "de"], dtype=np.object_),
}

COMES_TO = {
    "clicks + views * 2": [0, 5, 14],
    "(clicks + views) * 2": [0, 6, 18],
    "clicks - views - 1": [-1, -2, -2],
    "-rate": [1.5, 0.0, -2.5],
    "- 2 * -clicks": [0, 2, 8],
    "clicks / views": [0.0, 0.5, 0.8],
    "rate / 0": [0.0, 0.0, 0.0],
    "1 / 0 + clicks": [0.0, 1.0, 4.0],
    "6 / 4": [1.5, 1.5, 1.5],
    "rate > 0": [False, False, True],
    "0 <= hour < 23": [False, True, False],
    "0 < views > clicks != 0": [False, True, True],
    "clicks == 1 or views == 5 and rate > 2": [False, True, True],
    "(clicks == 1 or views == 5) and rate > 2": [False, False, True],
    "not clicks == 1": [True, False, True],
    "not (rate > 0 or hour == 9)": [True, False, False],
    'device == "mobile"': [False, True, False],
    "'' != device": [False, True, True],
    'device in ("mobile", "desktop")': [False, True, True],
    'device not in ["mobile"]': [True, False, True],
    'country in ("DE",)': [True, False, False],
    "hour in (9, -1)": [True, True, False],
    "hour in (9.5, 23)": [False, False, True],
    "rate not in (0, 2.5)": [True, False, False],
    "1 < 2": [True, True, True],
    '"a" == "b"': [False, False, False],
    "2 in (1, 2)": [True, True, True],
    "not 1 < 2 or 2 > 1": [True, True, True],
    "7": [7, 7, 7],
    "device": ["", "mobile", "desktop"],
    '"x"': ["x", "x", "x"],
    "larger(rate, 1)": [1.0, 1.0, 2.5],
    "root(clicks) + larger(clicks / 2, views)": [0.0, 3.0, 7.0],
}


@pytest.mark.parametrize("text", COMES_TO)
def test_an_expression_comes_to_what_its_reader_expects(text: str) -> None:
    assert read(text)(COLUMNS).tolist() == COMES_TO[text]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("clicks + 1", "number"), ("larger(1, 2)", "number"), ("device", "text"), ("clicks > 1", "truth")],
)
def test_an_expression_says_what_comes_out_of_it(text: str, kind: str) -> None:
    assert read(text).kind == kind


def test_an_expression_names_the_columns_it_uses_and_needs_no_others() -> None:
    ratio = read("clicks / views > larger(clicks, 0.5)")
    assert ratio.names == {"clicks", "views"}
    assert ratio({"clicks": np.array([1, 9]), "views": np.array([1, 1])}).tolist() == [False, False]


def test_truths_are_bool_whatever_they_are_made_of() -> None:
    for text in ("1 < 2", "device == 'x'", "not rate > 0", "hour in (1, 2)", "0 < rate < 1", "rate > 0 and 1 < 2"):
        assert read(text)(COLUMNS).dtype == np.bool_, text


def test_a_whole_number_stays_one_until_it_is_divided() -> None:
    large = np.array([2**60])
    assert read("clicks + 1 - views")({"clicks": large, "views": np.array([0])}).tolist() == [2**60 + 1]
    assert read("clicks / 2")({"clicks": np.array([4])}).dtype == np.float64


def test_a_column_may_be_one_number_for_all_rows() -> None:
    assert read("clicks / views")({"clicks": np.array([1, 2]), "views": 4}).tolist() == [0.25, 0.5]
    assert read("clicks / views")({"clicks": np.array([1, 2]), "views": 0}).tolist() == [0.0, 0.0]
    assert read("rate > 1")({"rate": 2.0, "clicks": np.array([1, 2, 3])}).tolist() == [True, True, True]


def test_without_any_array_one_value_comes_out() -> None:
    assert read("1 < 2")({}).item() is True
    assert read("rate * 2")({"rate": 1.5, "clicks": 1}).item() == 3.0


def test_of_no_rows_nothing_comes_out() -> None:
    assert read("1 < 2")({"clicks": np.array([], dtype=np.int64)}).tolist() == []
    assert read("clicks / views > 1")({"clicks": np.array([]), "views": np.array([])}).tolist() == []


def test_what_is_divided_by_nothing_is_nothing_and_nothing_warns() -> None:
    columns = {"clicks": np.array([-3, 0, 3]), "views": np.zeros(3), "rate": np.array([np.inf, 0.0, -np.inf])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("clicks / views", "rate / views", "1 / views", "clicks / 0", "rate / (views * 2)"):
            assert read(text)(columns).tolist() == [0.0, 0.0, 0.0]


def test_random_expressions_come_to_what_python_makes_of_them_row_by_row() -> None:
    rng = default_rng(11)
    columns = {
        "clicks": rng.integers(-3, 4, 40),
        "views": rng.integers(0, 3, 40),
        "rate": rng.normal(0.0, 2.0, 40).round(1),
        "hour": rng.integers(-1, 24, 40),
        "device": rng.choice(np.array(["", "mobile", "tv"], dtype=np.object_), 40),
        "country": rng.choice(np.array(["", "DE"], dtype=np.object_), 40),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    for _ in range(500):
        ours, pythons = _truth(rng, 4)
        expected = [bool(eval(pythons, {"over": _over, **row})) for row in rows]
        assert read(ours)(columns).tolist() == expected, ours


def _over(one: float, by: float) -> float:
    return one / by if by else 0.0


def _number(rng: Generator, depth: int) -> tuple[str, str]:
    """Make up a number: how we write it, and how Python does."""
    if depth == 0 or rng.random() < 0.3:
        text = str(rng.choice(["clicks", "views", "rate", "hour", "0", "2", "0.5", "-3"]))
        return text, text
    (one, pythons_one), (other, pythons_other) = _number(rng, depth - 1), _number(rng, depth - 1)
    if rng.random() < 0.25:
        return f"({one} / {other})", f"over({pythons_one}, {pythons_other})"
    op = rng.choice(["+", "-", "*", "- -"])
    return f"({one} {op} {other})", f"({pythons_one} {op} {pythons_other})"


def _truth(rng: Generator, depth: int) -> tuple[str, str]:
    """Make up a condition: how we write it, and how Python does."""
    sort = rng.integers(6) if depth else rng.integers(3)
    if sort == 0:
        sides = [_number(rng, max(depth - 1, 0)) for _ in range(rng.integers(2, 4))]
        ops = [f" {rng.choice(['<', '<=', '>', '>=', '==', '!='])} " for _ in sides[1:]] + [""]
        ours, pythons = ("".join(side[which] + op for side, op in zip(sides, ops, strict=True)) for which in (0, 1))
        return ours, pythons
    if sort == 1:
        text = str(rng.choice(["device == 'tv'", "'' != country", "device in ('tv', '')", "country not in ('DE',)"]))
        return text, text
    if sort == 2:
        text = f"{rng.choice(['clicks', 'hour'])} {rng.choice(['in', 'not in'])} (1, -1, 9)"
        return text, text
    (one, pythons_one), (other, pythons_other) = _truth(rng, depth - 1), _truth(rng, depth - 1)
    if sort == 3:
        return f"not {one}", f"not {pythons_one}"
    op = rng.choice(["and", "or"])
    return f"({one} {op} {other})", f"({pythons_one} {op} {pythons_other})"


SLIPS = {
    # Names and functions.
    "rat > 1": "column 1: unknown name rat; did you mean rate?",
    "rate > 1 and viewz > 2": "column 14: unknown name viewz; did you mean views?",
    "device == mobile": "column 11: unknown name mobile; there are: clicks, views, rate, hour, device, country;"
    " a text stands in quotes",
    "lager(rate, 1)": "column 1: unknown function lager; did you mean larger?",
    "log(rate)": "column 1: unknown function log; there are: larger, root",
    "larger(rate)": "column 1: `larger(rate)` is not how larger is called: missing a required argument: 'other'",
    "root(1, 2)": "column 1: `root(1, 2)` is not how root is called: it takes 1 arguments, got 2",
    "larger(device, 1)": "column 8: `device` is a text, expected a number",
    # Numbers, texts and conditions do not mix.
    "rate > 1 and views": "column 14: `views` is a number, expected a condition such as x > 0",
    "not device": "column 5: `device` is a text, expected a condition such as x > 0",
    "(rate > 1) + 1": "column 2: `rate > 1` is a condition, expected a number",
    "-device": "column 2: `device` is a text, expected a number",
    "device > 3": "column 10: `3` is a number, but `device` is a text",
    "rate == 'x'": "column 9: `'x'` is a text, but `rate` is a number",
    "device < 'x'": "column 10: `'x'` is a text; texts are only the same (==) or not (!=)",
    "(rate > 1) == (views > 1)": "column 2: `rate > 1` is a condition; conditions are joined by and, or, not",
    "rate is 1": "column 9: `1` cannot be compared like this; there are < <= > >= == !=, and `in` on its own",
    "1 < hour in ()": "column 13: `()` cannot be compared like this; there are < <= > >= == !=, and `in` on its own",
    # Lists.
    "device in 'tv'": 'column 11: `\'tv\'` is no list of values such as ("a", "b"), or ("a",) for one',
    "device in ()": 'column 11: `()` is no list of values such as ("a", "b"), or ("a",) for one',
    "device in ('tv', 3)": "column 18: `3` is a number, but `device` is a text",
    "hour in (1, rate)": "column 13: `rate` is no fixed value; compare with == instead",
    "(rate > 1) in (1, 2)": "column 2: `rate > 1` is a condition; only numbers and texts are in lists",
    # What can be written.
    "rate ** 2": "column 1: `rate ** 2` is not understood; there are numbers, texts in quotes, names, calls, + - * /,"
    ' < <= > >= == !=, and, or, not, x in ("a", "b")',
    "rate > True": "column 8: `True` is neither a number nor a text",
    "1e999": "column 1: `1e999` is too large a number",
    "1e308 * 10 > rate": "column 1: `1e308 * 10` is too large a number",
    "rate + 9007199254740993": "column 8: `9007199254740993` is too large a number",
    "'é' == rate": "column 8: `rate` is a number, but `'é'` is a text",
    # Not even Python's parser can read it.
    "rate = 1": "column 6: invalid syntax at `=`; did you mean `==`?",
    "rate => 1": "column 6: invalid syntax at `=>`; did you mean `>=`?",
    "rate && views": "column 7: invalid syntax at `&`; did you mean `and`?",
    "rate > 1 or": "column 12: something is missing at the end",
    "(rate > 1": "column 1: '(' was never closed at `(rate > 1`",
    "10s > hour": "column 2: invalid decimal literal at `0s > hour`",
    "1or rate": "column 1: invalid decimal literal at `1or rate`",
    "": "column 1: nothing is written",
    " rate": "column 1: a space; begin without one",
    "rate\n> 1": "column 5: '\\n' cannot be read; write one line with plain spaces",
    "rate\x00": "column 5: '\\x00' cannot be read; write one line with plain spaces",
}


@pytest.mark.parametrize("text", SLIPS)
def test_a_slip_is_named_with_its_column_and_what_to_write(text: str) -> None:
    assert refused(text) == SLIPS[text]


def test_without_functions_or_texts_the_answer_says_so() -> None:
    with pytest.raises(ExpressionError, match=r"^column 1: unknown function root; there are: none$"):
        compiled("root(2)", numbers=())
    with pytest.raises(ExpressionError, match=r"^column 1: unknown name x; there are: clicks$"):
        compiled("x > 2", numbers=["clicks"])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')",
        "rate.__class__",
        "device[0]",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "{'a': 1}",
        "(rate := 1)",
        "1 if rate > 1 else 2",
        "f'{rate}'",
        "b'x' == device",
        "larger(*device)",
        "larger(one=1, other=2)",
        "larger(1, 2)(3)",
        "rate @ views",
        "rate // views",
        "~hour",
        "+hour",
        "rate > 1 & views > 1",
        "1j",
        "...",
        "None",
        "await rate",
    ],
)
def test_what_only_python_understands_is_refused(text: str) -> None:
    assert refused(text).startswith("column ")


def test_whatever_is_written_it_is_read_or_refused_in_one_line() -> None:
    rng = default_rng(5)
    pieces = [
        *NUMBERS,
        *TEXTS,
        *FUNCTIONS,
        "1",
        "0.5",
        "'a'",
        '"',
        "(",
        ")",
        "[",
        "]",
        ",",
        "+",
        "-",
        "*",
        "/",
        "<",
        "==",
    ]
    pieces += [
        "in",
        "not",
        "and",
        "or",
        "=",
        "!",
        "&",
        "{",
        "#",
        ":",
        ".",
        "\\",
        "é",
        "if",
        "lambda",
        "is",
        " ",
        "~",
        "%",
    ]
    answers = [_answer(" ".join(rng.choice(pieces, rng.integers(1, 7)))) for _ in range(4000)]
    assert all(answer is None or (answer.startswith("column ") and "\n" not in answer) for answer in answers)
    assert answers.count(None) > 50


def _answer(text: str) -> str | None:
    try:
        read(text)(COLUMNS)
    except ExpressionError as error:
        return str(error)
    return None


def test_an_expression_is_at_most_so_long() -> None:
    assert read("1 < 2".ljust(MAX_LENGTH)).kind == "truth"
    assert refused("1 < 2".ljust(MAX_LENGTH + 1)) == "column 1001: longer than 1000 characters; write it shorter"


def test_an_expression_is_at_most_so_deep() -> None:
    assert read(" + ".join(["1"] * MAX_DEPTH))(COLUMNS).tolist() == [50, 50, 50]
    assert refused(" + ".join(["1"] * (MAX_DEPTH + 1))) == (
        "column 1: `1` lies more than 50 levels deep; write it shorter"
    )
    assert refused("-" * 999 + "1").startswith("column 51: `---")
    assert refused("(" * 400).startswith("column 201: too many nested parentheses")


def test_conditions_side_by_side_are_not_deep() -> None:
    assert read(" and ".join(["hour < 24"] * 60))(COLUMNS).tolist() == [True, True, True]
