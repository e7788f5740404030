"""What a team may write as a formula or a condition: a small language, read once and then worked out column by column.

There are numbers, texts in quotes, names of columns, `+ - * /`, `< <= > >= == !=` (also in a chain: `0 < x <= 5`),
`and`, `or`, `not`, `x in ("a", "b")`, `not in`, parentheses, and calls of the functions given. That is a part of
Python's grammar, so Python's own parser reads it; nothing of it is ever run as Python.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import reduce
from inspect import signature
from itertools import pairwise
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.nearest import nearest

MAX_LENGTH: Final = 1000
"""Characters of an expression."""

MAX_DEPTH: Final = 50
"""Levels of an expression; each further term of a sum is one."""

Kind = Literal["number", "text", "truth"]
Given = Mapping[str, NDArray[Any] | float | int]
Function = Callable[..., NDArray[Any]]

_LARGEST: Final = 2**53
"""Up to here a double knows every whole number."""

_SHOWN: Final = 40
_NONE: Final[Mapping[str, Function]] = MappingProxyType({})


class ExpressionError(ValueError):
    """An expression cannot be read; the message is a line with the column, the piece, and what is wrong with it."""


class Compared(NamedTuple):
    """A column that is held against a text that is written down.

    Attributes:
        name: of the column.
        text: what stands in quotes.
        column: where that begins, from 1 on.
    """

    name: str
    text: str
    column: int


@dataclass(frozen=True)
class Expression:
    """A formula or a condition, ready to be worked out.

    Attributes:
        text: as it was written.
        names: the columns it uses.
        kind: what comes out: a number, a text, or a truth (then it is a condition).
        compared: the columns that are held against texts that are written down, in order.
    """

    text: str
    names: frozenset[str]
    kind: Kind
    compared: tuple["Compared", ...]
    _run: Callable[[Given], Any] = field(repr=False, compare=False)

    def __call__(self, columns: Given) -> NDArray[Any]:
        """Work it out.

        Args:
            columns: those it uses, and any others: an array each, or one number for all rows.

        Returns:
            One value for each row, truths as bool. What is the same for all rows is repeated as often as the first
            array is long; without any array it is a single value, ().
        """
        found = self._run(columns)
        if np.ndim(found):
            result: NDArray[Any] = found
            return result
        rows = next((np.shape(column)[0] for column in columns.values() if np.ndim(column)), None)
        return np.asarray(found) if rows is None else np.full(rows, found)


def compiled(
    text: str,
    *,
    numbers: Collection[str],
    texts: Collection[str] = (),
    functions: Mapping[str, Function] = _NONE,
) -> Expression:
    """Read an expression.

    Args:
        text: on one line.
        numbers: names of columns of numbers.
        texts: names of columns of texts.
        functions: what may be called, by name; numbers in, a number out.

    Raises:
        ExpressionError: it is no expression, uses what there is not, or mixes up numbers, texts and truths.

    >>> ratio = compiled("clicks / views", numbers=("clicks", "views"))
    >>> ratio({"clicks": np.array([1, 2, 3]), "views": np.array([4, 0, 2])}).tolist()
    [0.25, 0.0, 1.5]
    >>> small = compiled('device in ("mobile", "tv") and not 5 < hour <= 22', numbers=["hour"], texts=["device"])
    >>> small({"device": np.array(["mobile", "tv", "desktop"]), "hour": np.array([23, 12, 1])}).tolist()
    [True, False, False]
    >>> small.kind, sorted(small.names)
    ('truth', ['device', 'hour'])
    >>> small.compared
    (Compared(name='device', text='mobile', column=12), Compared(name='device', text='tv', column=22))
    >>> compiled("rate_fst > 1", numbers=["rate_fast", "rate_slow"])
    Traceback (most recent call last):
    ...
    udfs.expressions.ExpressionError: column 1: unknown name rate_fst; did you mean rate_fast?
    """
    reading = _Reading(text, numbers, texts, functions)
    part = reading.part(_parsed(text))
    return Expression(text, frozenset(reading.names), part.kind, tuple(reading.compared), part.run)


def divided(one: Any, by: Any) -> Any:
    """Divide, row by row; what is divided by 0 is 0.0, as a share of nothing is of no account.

    >>> divided(np.array([1, 0, 3]), np.array([2, 0, 0])).tolist(), divided(np.array([1, 4]), 2).tolist()
    ([0.5, 0.0, 0.0], [0.5, 2.0])
    """
    if np.ndim(by) == 0:
        return one / by if by else np.zeros(np.shape(one))
    known = by != 0
    return np.where(known, one / np.where(known, by, 1), 0.0)


class _Part(NamedTuple):
    """A piece of an expression: where it stands, what comes out and how, and its value where that is written down."""

    node: ast.expr
    kind: Kind
    run: Callable[[Given], Any]
    constant: Any = None


_Work = Callable[..., Any]

_ARITHMETIC: Final[Mapping[type[ast.operator], _Work]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: divided,
}
_EQUALITY: Final[Mapping[type[ast.cmpop], _Work]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_COMPARISONS: Final[Mapping[type[ast.cmpop], _Work]] = {
    **_EQUALITY,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_WORDS: Final[Mapping[Kind, str]] = {"number": "a number", "text": "a text", "truth": "a condition"}

_SLIPS: Final = {"=>": ">=", "=<": "<=", "=": "==", "<>": "!=", "&": "and", "|": "or", "!": "not"}
"""What people write who know other languages, the longer ones first."""


class _Reading:
    """Reads one expression, piece by piece, and notes which names it uses."""

    def __init__(
        self, text: str, numbers: Collection[str], texts: Collection[str], functions: Mapping[str, Function]
    ) -> None:
        self.names = set[str]()
        self.compared: list[Compared] = []
        self._bytes = text.encode()
        self._kinds: dict[str, Kind] = {**dict.fromkeys(numbers, "number"), **dict.fromkeys(texts, "text")}
        self._hint = "; a text stands in quotes" if texts else ""
        self._functions = functions
        self._readers: Mapping[type[ast.expr], Callable[[Any, int], _Part]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._arithmetic,
            ast.BoolOp: self._joined,
            ast.Compare: self._comparison,
            ast.Call: self._call,
        }

    def part(self, node: ast.expr, depth: int = 1) -> _Part:
        """Read a piece and all that it is made of."""
        if depth > MAX_DEPTH:
            raise self._wrong(node, f"lies more than {MAX_DEPTH} levels deep; write it shorter")
        if type(node) not in self._readers:
            raise self._unread(node)
        return self._readers[type(node)](node, depth)

    def _constant(self, node: ast.Constant, _: int) -> _Part:
        value = node.value
        if isinstance(value, str):
            return _Part(node, "text", lambda _: value, value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(node, "is neither a number nor a text")
        return self._number(node, value)

    def _number(self, node: ast.expr, value: float) -> _Part:
        if not isfinite(value) or (isinstance(value, int) and abs(value) > _LARGEST):
            raise self._wrong(node, "is too large a number")
        return _Part(node, "number", lambda _: value, value)

    def _name(self, node: ast.Name, _: int) -> _Part:
        if node.id not in self._kinds:
            raise self._unknown(node, "name", node.id, self._kinds, self._hint)
        self.names.add(node.id)
        return _Part(node, self._kinds[node.id], operator.itemgetter(node.id))

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Part:
        if isinstance(node.op, ast.USub):
            return self._worked_out(node, operator.neg, [self._expected("number", node.operand, depth)])
        if isinstance(node.op, ast.Not):
            run = self._expected("truth", node.operand, depth).run
            return _Part(node, "truth", lambda given: np.logical_not(run(given)))
        raise self._unread(node)

    def _arithmetic(self, node: ast.BinOp, depth: int) -> _Part:
        if type(node.op) not in _ARITHMETIC:
            raise self._unread(node)
        parts = [self._expected("number", each, depth) for each in (node.left, node.right)]
        return self._worked_out(node, _ARITHMETIC[type(node.op)], parts)

    def _worked_out(self, node: ast.expr, work: _Work, parts: list[_Part]) -> _Part:
        """Apply an operator; to fixed numbers at once, so that what is too large is refused now, not while running."""
        fixed = [part.constant for part in parts if part.constant is not None]
        if len(fixed) == len(parts):
            value = work(*fixed)
            return self._number(node, value if isinstance(value, int) else float(value))
        return _Part(node, "number", _applied(work, parts))

    def _joined(self, node: ast.BoolOp, depth: int) -> _Part:
        parts = [self._expected("truth", each, depth) for each in node.values]
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return _Part(node, "truth", _applied(lambda *truths: reduce(join, truths), parts))

    def _comparison(self, node: ast.Compare, depth: int) -> _Part:
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
            return self._membership(node, depth, without=isinstance(node.ops[0], ast.NotIn))
        for op, side in zip(node.ops, node.comparators, strict=True):
            if type(op) not in _COMPARISONS:
                raise self._wrong(side, "cannot be compared like this; there are < <= > >= == !=, and `in` on its own")
        parts = [self.part(side, depth + 1) for side in (node.left, *node.comparators)]
        for op, (left, right) in zip(node.ops, pairwise(parts), strict=True):
            self._check(op, left, right)
        works = [_COMPARISONS[type(op)] for op in node.ops]

        def chained(*values: Any) -> Any:
            pairs = zip(works, pairwise(values), strict=True)
            return reduce(np.logical_and, [work(one, other) for work, (one, other) in pairs])

        return _Part(node, "truth", _applied(works[0] if len(works) == 1 else chained, parts))

    def _check(self, op: ast.cmpop, left: _Part, right: _Part) -> None:
        """Refuse to compare what cannot be compared."""
        for part in (left, right):
            if part.kind == "truth":
                raise self._wrong(part.node, "is a condition; conditions are joined by and, or, not")
        self._check_alike(left, right)
        if left.kind == "text" and type(op) not in _EQUALITY:
            raise self._wrong(right.node, "is a text; texts are only the same (==) or not (!=)")

    def _check_alike(self, left: _Part, right: _Part) -> None:
        if left.kind != right.kind:
            but = f"but {self._piece(left.node)} is {_WORDS[left.kind]}"
            raise self._wrong(right.node, f"is {_WORDS[right.kind]}, {but}")
        for column, said in ((left, right), (right, left)):
            if isinstance(column.node, ast.Name) and isinstance(said.constant, str):
                self.compared.append(Compared(column.node.id, said.constant, self._column(said.node)))

    def _membership(self, node: ast.Compare, depth: int, *, without: bool) -> _Part:
        one, (several,) = self.part(node.left, depth + 1), node.comparators
        if not isinstance(several, ast.Tuple | ast.List) or not several.elts:
            raise self._wrong(several, 'is no list of values such as ("a", "b"), or ("a",) for one')
        if one.kind == "truth":
            raise self._wrong(one.node, "is a condition; only numbers and texts are in lists")
        parts = [self.part(element, depth + 1) for element in several.elts]
        for part in parts:
            self._check_alike(one, part)
            if part.constant is None:
                raise self._wrong(part.node, "is no fixed value; compare with == instead")
        values = np.array([part.constant for part in parts])
        return _Part(node, "truth", _applied(lambda column: np.isin(column, values, invert=without), [one]))

    def _call(self, node: ast.Call, depth: int) -> _Part:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self._unread(node)
        name = node.func.id
        if name not in self._functions:
            raise self._unknown(node, "function", name, self._functions)
        parts = [self._expected("number", each, depth) for each in node.args]
        try:
            _bind(self._functions[name], parts)
        except TypeError as error:
            raise self._wrong(node, f"is not how {name} is called: {error}") from None
        return _Part(node, "number", _applied(self._functions[name], parts))

    def _expected(self, kind: Kind, node: ast.expr, depth: int) -> _Part:
        part = self.part(node, depth + 1)
        if part.kind != kind:
            such = " such as x > 0" if kind == "truth" else ""
            raise self._wrong(node, f"is {_WORDS[part.kind]}, expected {_WORDS[kind]}{such}")
        return part

    def _unread(self, node: ast.expr) -> ExpressionError:
        return self._wrong(
            node,
            "is not understood; there are numbers, texts in quotes, names, calls, + - * /, < <= > >= == !=, "
            'and, or, not, x in ("a", "b")',
        )

    def _wrong(self, node: ast.expr, sentence: str) -> ExpressionError:
        return ExpressionError(f"column {self._column(node)}: {self._piece(node)} {sentence}")

    def _unknown(self, node: ast.expr, what: str, name: str, known: Collection[str], hint: str = "") -> ExpressionError:
        return ExpressionError(f"column {self._column(node)}: unknown {what} {name}; {nearest(name, known, hint)}")

    def _column(self, node: ast.expr) -> int:
        return len(self._bytes[: node.col_offset].decode()) + 1  # the parser counts bytes, people count letters

    def _piece(self, node: ast.expr) -> str:
        return _short(self._bytes[node.col_offset : node.end_col_offset].decode())


def _applied(work: _Work, parts: list[_Part]) -> Callable[[Given], Any]:
    runs = [part.run for part in parts]
    return lambda given: work(*[run(given) for run in runs])


def _bind(function: Function, parts: list[_Part]) -> None:
    """Raise TypeError where a function does not take so many arguments."""
    if not isinstance(function, np.ufunc):
        signature(function).bind(*parts)
    elif len(parts) != function.nin:  # it has no signature
        raise TypeError(f"it takes {function.nin} arguments, got {len(parts)}")


def _parsed(text: str) -> ast.expr:
    """Have Python's parser read a text.

    >>> _parsed("a = 1")
    Traceback (most recent call last):
    ...
    udfs.expressions.ExpressionError: column 3: invalid syntax at `=`; did you mean `==`?
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"column {MAX_LENGTH + 1}: longer than {MAX_LENGTH} characters; write it shorter")
    for column, letter in enumerate(text, 1):
        if not letter.isprintable():
            raise ExpressionError(f"column {column}: {letter!r} cannot be read; write one line with plain spaces")
    if not text.strip():
        raise ExpressionError("column 1: nothing is written")
    if text[0].isspace():
        raise ExpressionError("column 1: a space; begin without one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what the parser only doubts, such as `1or x`, is refused too
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(_syntax(text, error)) from None


def _syntax(text: str, error: SyntaxError) -> str:
    if not error.offset:
        return f"column {len(text) + 1}: something is missing at the end"
    rest = text[error.offset - 1 :]
    slip = next((slip for slip in _SLIPS if rest.startswith(slip)), None)
    hint = f"; did you mean `{_SLIPS[slip]}`?" if slip else ""
    return f"column {error.offset}: {error.msg} at {_short(slip or rest)}{hint}"


def _short(piece: str) -> str:
    return f"`{piece}`" if len(piece) <= _SHOWN else f"`{piece[:_SHOWN]}...`"
