"""What a person answered in a consent banner that follows the IAB's framework, read from the string it left behind."""

from base64 import b64decode
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

_VERSION: Final = 2
_DECISECOND_MS: Final = 100
_PURPOSES: Final = 24
_BARRED: Final = frozenset({0, 2})
"""Kinds of publisher restrictions under which consent is of no use: not allowed; legitimate interest required."""

Ranges = tuple[tuple[int, int], ...]
"""Vendor numbers from the first to the last of each, both included."""


class Vendors(NamedTuple):
    """Vendors by their number in the Global Vendor List.

    Attributes:
        width: the highest number that has a bit; 0 where they are written as ranges.
        bits: one for each number, that of number 1 the most significant.
        ranges: in the order of the string.
    """

    width: int = 0
    bits: int = 0
    ranges: Ranges = ()

    def holds(self, vendor: int) -> bool:
        """Say whether a vendor is among them.

        >>> Vendors(3, 0b101).holds(3), Vendors(3, 0b101).holds(2), Vendors(ranges=((5, 9),)).holds(7)
        (True, False, True)
        """
        if 0 < vendor <= self.width:
            return bool(self.bits >> (self.width - vendor) & 1)
        return _within(vendor, self.ranges)


class Restriction(NamedTuple):
    """What a publisher does not let some vendors do for one purpose.

    Attributes:
        purpose: its number, 1 to 24.
        kind: 0 not allowed, 1 only by consent, 2 only by legitimate interest.
        vendors: by their numbers.
    """

    purpose: int
    kind: int
    vendors: Ranges


class Tcf(NamedTuple):
    """What a TC string says.

    Attributes:
        created: when it was first written, ms since 1970.
        purposes: those consented to, by their numbers.
        interests: those for which a legitimate interest was disclosed and not objected to.
        vendors: those consented to.
        restrictions: the publisher's.
    """

    created: int
    purposes: frozenset[int]
    interests: frozenset[int]
    vendors: Vendors
    restrictions: tuple[Restriction, ...]

    def grants(self, purposes: Collection[int], vendor: int = 0) -> bool:
        """Say whether there is consent to each of some purposes, at least one, and to a vendor where one is named.

        A legitimate interest is no consent.
        """
        if not purposes or not self.purposes.issuperset(purposes):
            return False
        return not vendor or (self.vendors.holds(vendor) and not self._barred(purposes, vendor))

    def _barred(self, purposes: Collection[int], vendor: int) -> bool:
        return any(
            each.purpose in purposes and each.kind in _BARRED and _within(vendor, each.vendors)
            for each in self.restrictions
        )


@lru_cache(maxsize=1024)
def tcf(text: str) -> Tcf | None:
    """Read the core of a TC string; None where it is none of version 2, ends early, or holds no base64url.

    Source: IAB Tech Lab, "Transparency and Consent String with Global Vendor & CMP List Formats", version 2: sections
    "TC String Format" (segments with dots between, of which the core is the first; base64url) and "The Core String"
    (its fields from bit 0: Version 6, Created 36, LastUpdated 36, CmpId 12, CmpVersion 12, ConsentScreen 6,
    ConsentLanguage 12, VendorListVersion 12, TcfPolicyVersion 6, IsServiceSpecific 1, UseNonStandardTexts 1,
    SpecialFeatureOptIns 12, PurposesConsent 24, PurposesLITransparency 24, PurposeOneTreatment 1, PublisherCC 12; then
    "Vendor Consent Section", "Vendor Legitimate Interest Section" and "Publisher Restrictions Section"). Further
    segments say nothing that matters here. A TC string does not expire; how long an answer holds is the banner's
    business.

    >>> found = tcf("COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA")
    >>> found.created, sorted(found.purposes), sorted(found.interests), found.vendors.holds(1)
    (1580058060000, [2, 10], [2, 9], False)
    >>> tcf("BObdrPUOevsguAfDqFENCNAAAAAmeAAA"), tcf(""), tcf("1---")
    (None, None, None)
    """
    try:
        return _core(_Bits(text.partition(".")[0].rstrip("=")))
    except ValueError:
        return None


class _Bits:
    """A string of bits, taken from its beginning."""

    def __init__(self, text: str) -> None:
        # Each character is six bits; "A", six zeros, fills up what base64 takes four characters for.
        data = b64decode(text + "A" * (-len(text) % 4), altchars=b"-_", validate=True)
        self._left = 6 * len(text)
        self._value = int.from_bytes(data) >> (8 * len(data) - self._left)

    def take(self, width: int) -> int:
        self._left -= width
        if self._left < 0:
            raise ValueError("the string ends early")
        return self._value >> self._left & ((1 << width) - 1)

    def numbers(self, width: int) -> frozenset[int]:
        """Take a field of flags, of which the first stands for number 1."""
        flags = self.take(width)
        return frozenset(number for number in range(1, width + 1) if flags >> (width - number) & 1)

    def ranges(self) -> Ranges:
        """Take a list of vendors: each a number alone, or the first and last of several."""
        found = []
        for _ in range(self.take(12)):
            several, first = self.take(1), self.take(16)
            found.append((first, self.take(16) if several else first))
        return tuple(found)

    def vendors(self) -> Vendors:
        """Take a section of vendors, as bits or as ranges."""
        highest, ranged = self.take(16), self.take(1)
        return Vendors(ranges=self.ranges()) if ranged else Vendors(highest, self.take(highest))


def _core(bits: _Bits) -> Tcf:
    if bits.take(6) != _VERSION:
        raise ValueError("another version")
    created = bits.take(36) * _DECISECOND_MS
    bits.take(36 + 12 + 12 + 6 + 12 + 12 + 6 + 1 + 1 + 12)
    purposes, interests = bits.numbers(_PURPOSES), bits.numbers(_PURPOSES)
    bits.take(1 + 12)
    vendors, _ = bits.vendors(), bits.vendors()
    restrictions = tuple(Restriction(bits.take(6), bits.take(2), bits.ranges()) for _ in range(bits.take(12)))
    return Tcf(created, purposes, interests, vendors, restrictions)


def _within(vendor: int, ranges: Ranges) -> bool:
    return any(first <= vendor <= last for first, last in ranges)
