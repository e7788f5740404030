"""What is derived from an event's surroundings: device, robot or not, language, country, region, hour, connection."""

from typing import Final

from schemas.events import Connection, Device, RawEvent
from udfs.cleaning.devices import device_reader
from udfs.cleaning.places import Lookup, local_hour, nowhere, place_name, primary_language

Derived = tuple[Device | None, bool, str | None, str | None, str | None, int | None, Connection | None]
"""Device, whether its user agent is a robot's, language, country, region, hour of the day (0 to 23), connection."""

NOTHING: Final[Derived] = (None, False, None, None, None, None, None)

SPEEDS: Final = {
    Connection.SLOW: ("offline", "slow-2g", "2g", "edge", "gprs", "dialup", "modem", "mobile_edge", "mobile_2g"),
    Connection.MEDIUM: ("3g", "hspa", "umts", "isdn", "mobile", "mobile_3g"),
    Connection.FAST: (
        *("4g", "lte", "5g", "nr", "mobile_lte", "wifi", "wireless_wifi", "wimax"),
        *("ethernet", "lan", "cable", "dsl", "bisdn", "t1", "t3", "oc3"),
    ),
}
"""Words for connections: the effective types of the W3C's Network Information API, Adobe's and the telephones' own."""

_SPEED: Final = {word: speed for speed, words in SPEEDS.items() for word in words}


class Surroundings:
    """Derives what an event's surroundings say; the address and the user agent themselves go no further."""

    def __init__(self, lookup: Lookup = nowhere) -> None:
        """Take the way from an address to its place."""
        self._lookup = lookup
        self._device = device_reader()

    def __call__(self, event: RawEvent, at: int) -> Derived:
        """Derive; never raises. What the tracker says of the country wins over its address.

        Args:
            event: as the tracker sent it.
            at: its event time, ms since 1970.
        """
        user_agent, language, time_zone = event.user_agent, event.language, event.time_zone
        country, region, ip, connection = event.country, event.region, event.ip, event.connection
        if (
            user_agent is None
            and language is None
            and time_zone is None
            and country is None
            and region is None
            and ip is None
            and connection is None
        ):
            return NOTHING
        device, robot = self._device(user_agent) if user_agent else (None, False)
        country = place_name(country) if country else None
        region = place_name(region) if region else None
        if country is None and ip and (place := self._lookup(ip)):
            country, region = place.country, region or place.region
        return (
            device,
            robot,
            primary_language(language) if language else None,
            country,
            region,
            local_hour(at, time_zone) if time_zone else None,
            _SPEED.get(connection.strip().lower()) if connection else None,
        )
