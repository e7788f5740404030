"""What makes signals of different units comparable: seconds, events and shares, all counted in deviations."""

from math import sinh
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.clusters import Feature
from schemas.signals import REGISTRY
from udfs.nearest import no_such

BOUNDED: Final = frozenset({"share", "probability", "0 or 1", "-1 to 1", "bits", "score", "h"})
"""Units in which no value is far out."""

_LEAST: Final = 1e-9
_FAR: Final = 700.0  # exp(709) is the largest that fits a double


def measured(signal: str, values: NDArray[Any], weights: NDArray[np.float64]) -> Feature:
    """Find a signal's scale among a population.

    Its unit is the median of what is not 0, so that usual values lie where the scale is straight, whatever the site's
    pace. A signal that is the same in all rows keeps a scale of 1: it tells nothing apart until it changes.

    Args:
        signal: its name in the registry.
        values: (n,) at least one.
        weights: (n,) how much each counts.

    >>> found = measured("gap_s", np.array([0.0, 2.0, 4.0, 90_000.0]), np.ones(4))
    >>> found.transform, found.unit, round(found.centre, 2), round(found.scale, 2)
    ('asinh', 4.0, 3.02, 4.45)
    """
    transform: Literal["asinh", "none"] = "none" if REGISTRY[signal].unit in BOUNDED else "asinh"
    sizes = np.abs(values[values != 0])
    unit = max(float(np.median(sizes)), _LEAST) if transform == "asinh" and len(sizes) else 1.0
    changed = tamed(values, transform, unit)
    centre = float(np.average(changed, weights=weights))
    deviation = float(np.sqrt(np.average((changed - centre) ** 2, weights=weights)))
    return Feature(signal, transform, unit, centre, deviation if deviation > _LEAST else 1.0)


def scaled(values: NDArray[Any], feature: Feature) -> NDArray[np.float64]:
    """Put a signal on a feature's scale, deviations from the population's mean.

    >>> feature = Feature(signal="gap_s", transform="asinh", unit=10.0, centre=1.0, scale=2.0)
    >>> scaled(np.array([0.0, 10.0, 1e6]), feature).round(2).tolist()
    [-0.5, -0.06, 5.6]
    """
    return (tamed(values, feature.transform, feature.unit) - feature.centre) / feature.scale


def restored(place: float, feature: Feature) -> float:
    """Turn a place on a feature's scale back into the signal's unit.

    >>> feature = Feature(signal="gap_s", transform="asinh", unit=10.0, centre=1.0, scale=2.0)
    >>> round(restored(-0.5, feature), 6), round(restored(5.6, feature), -5)
    (0.0, 1000000.0)
    """
    value = place * feature.scale + feature.centre
    return feature.unit * (sinh(max(-_FAR, min(_FAR, value))) if feature.transform == "asinh" else value)


def tamed(values: NDArray[Any], transform: Literal["asinh", "none"], unit: float) -> NDArray[np.float64]:
    """Bring far values near, on both sides of 0, and leave usual ones nearly as they are.

    asinh(x / unit) (Burbidge, Magee and Robb, JASA 83, 1988): straight below the unit, a logarithm far above it. A
    signed log1p is much the same curve; this one is smooth at 0 too, where velocities and scores have most of their
    values. Without it, one person who was away for a month outweighs everybody's other signals.
    """
    counted: NDArray[np.float64] = values / unit
    return np.arcsinh(counted) if transform == "asinh" else counted


def unknown(signal: str) -> str:
    """Say that there is no such signal, and which one was probably meant.

    >>> unknown("sesion_depth")
    'there is no signal "sesion_depth"; did you mean session_depth?'
    """
    return no_such("signal", signal, REGISTRY)
