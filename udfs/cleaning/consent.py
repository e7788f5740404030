"""What a person has agreed to, as their event says it: consent travels on every event, and nothing is remembered."""

import re
from functools import lru_cache
from typing import Final

from schemas.events import Kind, Purpose, RawEvent
from schemas.settings import Consent
from udfs.cleaning.tcf import tcf

_CONSENT: Final = Kind.CONSENT
_BETWEEN: Final = re.compile(r"[\s_-]+")
_BIT: Final = {purpose: 1 << place for place, purpose in enumerate(Purpose)}
_ALL: Final = sum(_BIT.values())
_DENIED: Final = tuple(
    tuple(purpose for purpose, bit in _BIT.items() if not granted & bit) for granted in range(_ALL + 1)
)
"""Purposes that are not granted, by the bits of those that are."""


class Consents:
    """Reads what an event says of consent; what each word of a tracker means is settled once, here."""

    def __init__(self, consent: Consent) -> None:
        """Take the settings; each of the three purposes has its own."""
        self._categories: dict[str, int] = {}
        self._tcf = [(_BIT[purpose], tuple(consent.purposes[purpose.value].tcf)) for purpose in Purpose]
        for purpose, bit in _BIT.items():
            for category in map(folded, consent.purposes[purpose.value].categories):
                self._categories[category] = self._categories.get(category, 0) | bit
        self._vendor = consent.tcf_vendor
        self._unknown = _bits(consent.unknown)
        self._left_by_gpc = _ALL & ~_bits(consent.gpc_denies)
        self._silent = _DENIED[self._unknown]

    def denied(self, event: RawEvent) -> tuple[Purpose, ...]:
        """Give the purposes that an event does not grant, in the order of `Purpose`.

        The event's own consent speaks first, category by category: where several categories stand for one purpose, a
        single yes grants it, since each of them alone is enough. Of what it does not name the TCF string speaks, where
        there is one; a string that cannot be read grants nothing. `unknown` is for events that bring neither, unless
        they are about consent: one of those that names no purpose grants none. Global Privacy Control takes away what
        it takes away, whatever else was said.

        >>> from schemas.settings import Granted
        >>> of = {"personalize": Granted(["personalize", "functional"], [5, 6]), "learn": Granted(["analytics"], [10])}
        >>> consents = Consents(Consent([], [Purpose.LEARN], 0, of | {"measure": Granted(["analytics"], [8])}))
        >>> def denied(**said):
        ...     return [purpose.value for purpose in consents.denied(RawEvent("ada", "view", **said))]
        >>> denied(), denied(consent={"Analytics": True}), denied(consent={"analytics": True}, gpc=True)
        (['personalize', 'learn', 'measure'], ['personalize'], ['personalize', 'learn'])
        >>> denied(consent={"personalize": False, "Functional": True, "advertising": True})
        ['learn', 'measure']
        >>> denied(tcf="COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA"), denied(tcf="none")
        (['personalize', 'measure'], ['personalize', 'learn', 'measure'])
        """
        said, text = event.consent, event.tcf
        granted = refused = 0
        if said is None and text is None and event.kind is not _CONSENT:
            if event.gpc is None:
                return self._silent
            granted = self._unknown
        for category, answer in said.items() if said else ():
            # Most trackers write a category as it is folded.
            bits = self._categories.get(category) or self._categories.get(folded(category), 0)
            if answer:
                granted |= bits
            else:
                refused |= bits
        if text is not None:
            granted |= self._granted_by(text) & ~refused
        return _DENIED[granted & self._left_by_gpc if event.gpc else granted]

    def _granted_by(self, text: str) -> int:
        found = tcf(text)
        return sum(bit for bit, purposes in self._tcf if found.grants(purposes, self._vendor)) if found else 0


@lru_cache(maxsize=1024)
def folded(category: str) -> str:
    """Write a category as trackers that differ only in case, spaces, hyphens and underscores would agree on.

    >>> folded(" Site-Performance"), folded("site_performance")
    ('site_performance', 'site_performance')
    """
    return _BETWEEN.sub("_", category.strip().casefold())


def _bits(purposes: list[Purpose]) -> int:
    return sum(_BIT[purpose] for purpose in set(purposes))
