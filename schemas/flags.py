"""What is switched off: the payload of the channel `flags`."""

from msgspec import Struct


class Flags(Struct, frozen=True, forbid_unknown_fields=True):
    """`flags.json`: a kill switch for all, and one for each slot; a slot that is not named is on."""

    kill: bool = False
    slots: dict[str, bool] = {}
