"""Which of our words a tracker's word is: the rules by which a record says what the person did."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import ValidationError

from schemas.events import Kind
from schemas.formats import Rule
from udfs.payloads.paths import Path
from udfs.payloads.records import Spot, missing
from udfs.payloads.units import kind_of

_BETWEEN: Final = re.compile(r"[\s_-]+")


@lru_cache(maxsize=1024)
def folded(word: str) -> str:
    """Write a word as trackers that differ only in case, spaces and hyphens would agree on.

    >>> folded(" Product Added"), folded("add-to_cart")
    ('product_added', 'add_to_cart')
    """
    return _BETWEEN.sub("_", word.strip().lower())


class _Question:
    """One rule, ready to be asked."""

    def __init__(self, rule: Rule, prefix: str) -> None:
        self.paths = [Path(path, prefix) for path in paths_of(rule)]
        self.there = rule.there
        self._words = {folded(word): kind for word, kind in rule.words.items()} | dict(rule.words)
        self._next = frozenset(folded(word) for word in rule.next)
        self._find = re.compile(rule.find) if rule.find else None
        if self._find and self._find.groups != 1:
            raise ValueError(f'"{rule.find}" must have one group: the word')

    def found(self, spot: Spot) -> tuple[Any, str]:
        """Give what the paths lead to, and its place; None, or a text of no length, where they lead nowhere."""
        for path in self.paths:
            record = spot.around if path.rooted else spot.element
            place = spot.at(path.text, rooted=path.rooted)
            try:
                found = path.first(record)
            except ValidationError as error:
                raise ValidationError(f"{error} - at `{place}`") from None
            if found is not None:
                return found, place
        return None, spot.at(self.paths[0].text, rooted=self.paths[0].rooted)

    def word(self, found: Any, place: str) -> str:
        """Give the word that a value stands for.

        Raises:
            ValidationError: it is neither text nor a whole number.
        """
        if isinstance(found, bool) or not isinstance(found, str | int):
            raise ValidationError(f"Expected `str`, got `{kind_of(found)}` - at `{place}`")
        word = str(found)
        part = self._find.search(word) if self._find else None
        return part[1] if part else word

    def answer(self, word: str) -> Kind | None:
        """Give the kind that a word means; None if it means none."""
        return self._words.get(word) or self._words.get(folded(word))

    def passes(self, word: str) -> bool:
        """Say whether a word leaves it to the next rule."""
        return folded(word) in self._next


class Kinds:
    """The rules of one format, in order."""

    def __init__(self, rules: Sequence[Rule], prefix: str) -> None:
        """Prepare the rules.

        Raises:
            ValueError: a path or a regular expression is none.
        """
        try:
            self._questions = [_Question(rule, prefix) for rule in rules]
        except re.error as error:
            raise ValueError(f"kinds: find is no regular expression: {error}") from error
        except ValueError as error:
            raise ValueError(f"kinds: {error}") from error

    def heads(self) -> Iterator[str | None]:
        """Give the keys of a record at which the paths begin."""
        return (path.head for question in self._questions for path in question.paths)

    def of(self, spot: Spot) -> Kind:
        """Find the kind of an event.

        Raises:
            ValidationError: the rules find none; the message names the unknown word or the empty place.

        >>> from udfs.payloads.records import spotted
        >>> by_type = Rule("type", words={"page": Kind.VIEW}, next=["track"])
        >>> kinds = Kinds([by_type, Rule("event", words={"Product Added": Kind.CART})], "")
        >>> kinds.of(spotted({"type": "track", "event": "product_added"}))
        <Kind.CART: 'cart'>
        >>> kinds.of(spotted({"type": "group", "event": "Product Added"}))
        Traceback (most recent call last):
        msgspec.ValidationError: Invalid enum value 'group' - at `$.type`
        >>> kinds.of(spotted({"type": "track", "event": ""}))
        Traceback (most recent call last):
        msgspec.ValidationError: Object missing required field `event`
        """
        wanted, unknown = "", ""
        for question in self._questions:
            found, place = question.found(spot)
            if question.there is not None and found:
                return question.there
            if question.there is not None or found is None or found == "":
                wanted = wanted or place
                continue
            word = question.word(found, place)
            if kind := question.answer(word):
                return kind
            wanted, unknown = "", f"Invalid enum value {word[:80]!r} - at `{place}`"
            if not question.passes(word):
                break
        raise ValidationError(unknown) if unknown and not wanted else missing(wanted or spot.at("kind"))


def paths_of(rule: Rule) -> list[str]:
    """Give the paths of a rule.

    >>> paths_of(Rule("a")), paths_of(Rule(["a", "b"]))
    (['a'], ['a', 'b'])
    """
    return rule.path if isinstance(rule.path, list) else [rule.path]
