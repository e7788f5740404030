"""What a tracker says becomes a trustworthy event: under a pseudonym, within consent, its clock set right."""

from collections.abc import Callable
from urllib.parse import unquote

from schemas.events import ANONYMOUS, Event, Kind, Purpose, RawEvent
from schemas.settings import Clean, Noise
from udfs.cleaning.consent import Consents
from udfs.cleaning.noise import Norms, clip
from udfs.cleaning.properties import kept, scrubbed
from udfs.cleaning.surroundings import Surroundings
from udfs.cleaning.times import happened

_ASK = Kind.ASK
_NEED_A_NAME = frozenset({Purpose.LEARN, Purpose.MEASURE})


class Canonical:
    """Everything about a canonical event that stays the same from event to event."""

    def __init__(
        self,
        pseudonym: Callable[[str], str],
        consents: Consents,
        surroundings: Surroundings,
        clean: Clean,
        noise: Noise,
    ) -> None:
        """Take the keyed hash, the reading of consent, the derivation of surroundings, and the limits."""
        self.pseudonym = pseudonym
        self._denied = consents.denied
        self._surroundings = surroundings
        self._max_lateness = clean.max_lateness
        self._properties = frozenset(clean.properties)
        self._noise = noise

    def __call__(self, raw: RawEvent, at: int, user_id: str, norms: Norms | None) -> Event:
        """Say a raw event in canonical words.

        Args:
            raw: as its format was read.
            at: its record's Kafka timestamp, ms since 1970.
            user_id: its person's pseudonym; it stays out where they have agreed to neither `learn` nor `measure`.
            norms: the population's quartiles that are in force at `at`.
        """
        denied = self._denied(raw)
        named = not (denied and _NEED_A_NAME.issubset(denied))
        occurred = happened(at, raw.occurred_at, raw.sent_at, raw.received_at)
        around = self._surroundings(raw, at if occurred is None else occurred)
        device, robot, language, country, region, hour, connection = around
        dwell_ms, value, clipped = clip(raw, norms, self._noise)
        return Event(
            user_id if named else ANONYMOUS,
            at,
            raw.kind,
            raw.event_id if named else None,
            occurred,
            raw.item,
            _page(raw) if raw.page else raw.page,
            dwell_ms,
            raw.scroll,
            value,
            raw.slot,
            raw.decision_id if named else None,
            raw.shown,
            raw.position,
            self._account(raw.account_id, user_id) if named and raw.account_id else None,
            occurred is not None and at - occurred > self._max_lateness,
            robot or raw.robot is True,
            list(clipped),
            list(denied),
            device,
            connection,
            language,
            country,
            region,
            hour,
            kept(raw.properties, self._properties) if raw.properties and self._properties else {},
            raw.items if raw.kind is _ASK else None,
        )

    def _account(self, account_id: str, user_id: str) -> str | None:
        account = self.pseudonym(account_id)
        return account if account != user_id else None


def _page(raw: RawEvent) -> str:
    """Give the page without what says who reads it, their own ids above all."""
    page = scrubbed(raw.page or "")
    said = unquote(page)
    if raw.user_id in said or (raw.account_id and raw.account_id in said):
        ids = {raw.user_id, raw.account_id}
        return "/".join("*" if unquote(part) in ids else part for part in page.split("/"))
    return page
