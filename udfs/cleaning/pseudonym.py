"""A name nobody can read back: the keyed hash under which a person is known from the first step on."""

from collections.abc import Callable
from hashlib import blake2b

DIGEST_BYTES = 12
"""96 bits: among a billion users a collision has a chance of about one in 10^11."""


def pseudonymiser(key: bytes, key_id: str) -> Callable[[str], str]:
    """Prepare the keyed hash once; the result maps a raw id to its pseudonym.

    BLAKE2b in keyed mode (RFC 7693, section 2.9). A key longer than its 64 bytes is hashed first.

    Raises:
        ValueError: the key is empty.

    >>> pseudonymiser(b"for-development-only", "k0")("ada")
    'k0:11997fd1c46f666bb255ad6b'
    """
    if not key:
        raise ValueError("the pseudonym key is empty")
    keyed = blake2b(key=key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest(), digest_size=DIGEST_BYTES)
    prefix = f"{key_id}:"

    def hashed(user_id: str) -> str:
        state = keyed.copy()
        state.update(user_id.encode())
        return prefix + state.hexdigest()

    return hashed


def pseudonym(user_id: str, key: bytes, key_id: str) -> str:
    """Give one raw id its pseudonym.

    >>> pseudonym("ada", b"for-development-only", "k0") == pseudonymiser(b"for-development-only", "k0")("ada")
    True
    """
    return pseudonymiser(key, key_id)(user_id)
