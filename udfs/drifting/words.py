"""What is said of a drift, to operators and in the topic of alerts, and whether it was said before."""

from datetime import UTC, datetime
from typing import Final

from schemas.alerts import Alert, Detector
from udfs.drifting.drift import ARMS, CALIBRATION, REWARD, SCORE, Finding
from udfs.drifting.rows import Ranges
from udfs.explaining.sentences import percent

_TITLES: Final = {REWARD: "The reward", SCORE: "Scores", CALIBRATION: "The calibration error"}
_ALIKE: Final = ("what", "subject", "series", "against")


def alert(finding: Finding, ranges: Ranges) -> Alert:
    """Tell of a column that has drifted."""
    at = datetime.fromtimestamp(finding.since / 1000, UTC)
    return Alert(
        at=ranges.window.until,
        since=finding.since,
        what=finding.what,
        subject=finding.slot,
        series=finding.series,
        value=finding.latest,
        expected=finding.before,
        size=finding.size,
        sure=1.0 - finding.chance,
        words=f"{_said(finding)}, since {at:%Y-%m-%d %H:%M:%S} UTC; before: {ranges.against} ({_by(finding)}).",
        against=ranges.against,
    )


def same(one: Alert, told: Alert) -> bool:
    """Say whether a drift was told before: of the same column against the same reference, after it began.

    So a drift is told once, though it is looked at again and again, and its beginning is only an estimate; and again
    once the reference is another one, or it began anew.
    """
    return told.at >= one.since and all(getattr(one, name) == getattr(told, name) for name in _ALIKE)


def _said(finding: Finding) -> str:
    """Say what has changed.

    >>> _said(Finding("hero", "arms", Detector.DRIFT, (900, 900), 0.3, before=0.5, latest=0.71, arm="plain"))
    'Arm plain of hero moved from 50 % to 71 %'
    """
    if finding.series == ARMS:
        before, now = percent(finding.before), percent(finding.latest)
        return f"Arm {finding.arm or 'none'} of {finding.slot} moved from {before} to {now}"
    title = _TITLES.get(finding.series, f"Signal {finding.series}")
    return f"{title} of {finding.slot} moved from {finding.before:.3g} to {finding.latest:.3g}"


def _by(finding: Finding) -> str:
    size = abs(finding.size)
    if finding.what is Detector.PAGE_HINKLEY:
        return f"Page-Hinkley, {size:.1f} standard deviations summed up"
    if finding.what is Detector.CALIBRATION:
        return f"chance {finding.chance:.1g}"
    return f"PSI {size:.2f}, chance {finding.chance:.1g}"
