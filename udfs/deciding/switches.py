"""What is switched off at the moment: everything, or single slots; one release of the channel `flags`."""

from dataclasses import dataclass
from typing import Final, Self

from msgspec import json

from schemas.flags import Flags
from udfs.releases import decoded


@dataclass(frozen=True, eq=False)
class Switches:
    """One flags release.

    Attributes:
        version: the release, `f1`, `f2` ...
        flags: what it says.
    """

    version: str
    flags: Flags

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        """Read `flags.json`, a `schemas.flags.Flags`.

        Raises:
            RefusedRelease: it is none.

        >>> Switches.parse("f1", b'{"slots":{"hero":false}}').off("hero")
        True
        >>> Switches.parse("f1", b'{"kil":true}')
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: flags f1: Object contains unknown field `kil`
        """
        return cls(version, decoded(_decode, payload, f"flags {version}"))

    def off(self, slot: str) -> bool:
        """Say whether a slot is switched off, alone or with everything."""
        return self.flags.kill or not self.flags.slots.get(slot, True)


_decode: Final = json.Decoder(Flags).decode
