"""What came of decisions, as a test says."""

from collections.abc import Iterable, Sequence

from schemas.decisions import Decision
from schemas.outcomes import Outcome


def outcomes(decisions: Iterable[Decision], slot: str, rewards: Sequence[float]) -> list[Outcome]:
    """Show a slot to everybody at once, and let rewards follow; an outcome each.

    Args:
        decisions: in which the slot was decided.
        slot: that is shown.
        rewards: taken in turn, again and again.
    """
    return [
        Outcome(
            id=each.slots[slot].id,
            user_id=each.user_id,
            v=1,
            slot=slot,
            at=each.seq,
            due=each.seq + 600_000,
            reward=rewards[row % len(rewards)],
            seq=each.seq,
            session=each.session,
            card=each.slots[slot],
            ver=each.ver,
            signals=each.signals,
            trace=each.trace[slot],
            context=each.context,
            segment=each.segment,
            cluster=each.cluster,
            unfit=each.unfit,
            unmeasured=each.unmeasured,
        )
        for row, each in enumerate(decisions)
    ]
