"""What a release holds, or why it is not let in."""

from collections.abc import Callable
from typing import TypeVar

from msgspec import MsgspecError

Read = TypeVar("Read")


class RefusedRelease(ValueError):  # noqa: N818 - a verdict, named as operators read it
    """A catalogue, model or norms that must not decide anything; its message is a line with channel, place, remedy."""


def decoded(decode: Callable[[bytes], Read], content: bytes, whose: str) -> Read:
    """Decode what a release holds.

    Args:
        decode: what makes a value of bytes.
        content: the bytes.
        whose: the channel and version, and where in it the bytes stand.

    Raises:
        RefusedRelease: the bytes are no such value.

    >>> from msgspec import json
    >>> decoded(json.Decoder(dict[str, int]).decode, b'{"a":"b"}', "norms n1")
    Traceback (most recent call last):
    ...
    udfs.releases.RefusedRelease: norms n1: Expected `int`, got `str` - at `$[...]`
    """
    try:
        return decode(content)
    except (MsgspecError, UnicodeDecodeError) as error:
        raise RefusedRelease(f"{whose}: {error}") from None
