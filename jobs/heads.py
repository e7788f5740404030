"""Teaches a model what it has to predict of people, so that a parameter of content is set by the person.

The file holds a row for each moment from which something was learned: a column for each of
`schemas.signals.USER_FEATURES`, as records of the topic `decisions` have them, what is neutral left out; `user_id`; and
one named as the parameter is `predicted` by in conf/slots.toml, what came of it: the seconds that were read, say.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import lightgbm
import numpy as np
import pyarrow as pa
from msgspec import json
from numpy.typing import NDArray
from pyarrow import dataset

from jobs.wiring import Refusal
from jobs.wiring.publishing import published, refusals, shown
from jobs.wiring.store import Store
from schemas.heads import Head, Regressions
from schemas.settings import Releases, Settings
from schemas.signals import USER_FEATURES, Signals
from schemas.slots import Content, Knob
from udfs.deciding.content import tuned
from udfs.draw import ticket
from udfs.explaining.sentences import percent
from udfs.nearest import no_such
from udfs.releases import RefusedRelease
from udfs.scoring.heads import Heads
from udfs.scoring.models import golden

TREES: Final = 60
PARAMETERS: Final[dict[str, Any]] = {
    "objective": "regression",
    "num_leaves": 8,
    "learning_rate": 0.08,
    "min_data_in_leaf": 100,
    "lambda_l2": 10.0,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbosity": -1,
}

PERSON: Final = "user_id"

_FORMATS: Final = {".parquet": "parquet", ".jsonl": "json"}
_HELD_OUT: Final = 0.3
_LEAST_PEOPLE: Final = 100
_SURE: Final = 2.0  # standard errors
_GOLDEN_ROWS: Final = 32


class Rows(NamedTuple):
    """What is learned from.

    Attributes:
        features: (rows, len(USER_FEATURES)).
        target: (rows,).
        person: (rows,) numbers of people.
        held_out: (rows,) those of people by whom the model is judged.
    """

    features: NDArray[np.float64]
    target: NDArray[np.float64]
    person: NDArray[np.intp]
    held_out: NDArray[np.bool_]


class Verdict(NamedTuple):
    """How a model did on people it never saw, against the mean of those it learned from.

    Attributes:
        r2: share of the squared error that it takes away.
        mae: mean absolute error.
        mae_of_mean: the same of the mean.
        sure: by how many standard errors what it takes away is more than nothing.
    """

    r2: float
    mae: float
    mae_of_mean: float
    sure: float


def main(settings: Settings, arguments: list[str]) -> int:
    """Fit, say how well it predicts and what it would set, and publish it if asked.

    Raises:
        Refusal: there is no such parameter, or nothing predicts it; the file cannot be read or has too few people; the
            model is no better than the mean and was to be published; or the store does not take the release.
    """
    asked = _parser().parse_args(arguments)
    knob = _knob(settings, asked.slot, asked.param)
    rows = read(asked.input, knob.predicted)
    text = fit(rows)
    judged = rows.features[rows.held_out]
    predictions = np.asarray(lightgbm.Booster(model_str=text).predict(judged, num_threads=1), dtype=np.float64)
    found = verdict(rows, predictions)
    said = f"R2 {found.r2:.3f}, mean error {found.mae:.4g}, of the mean {found.mae_of_mean:.4g}"
    print(f"{knob.predicted}: {said} ({rows.held_out.sum()} rows of people held out)")
    print(f"{asked.slot}.{asked.param} would be {', '.join(_outlook(knob, predictions))}")
    if asked.publish:
        if found.sure < _SURE:
            raise Refusal(f"heads: not published, it is not surely better than the mean: {said}")
        chosen = np.argsort(predictions, kind="stable")[np.linspace(0, len(judged) - 1, _GOLDEN_ROWS).astype(np.intp)]
        head = Head(knob.predicted, text, golden(text, judged[chosen]).golden)
        slots = newest(settings.releases).slots
        content = Regressions(slots | {asked.slot: slots.get(asked.slot, {}) | {asked.param: head}})
        reason = f"{asked.slot}.{asked.param}: {said}"
        release = published(settings.releases, "heads", json.encode(content), reason)
        print(f"published {release.version}, in force from {shown(release.effective_at)} on")
    return 0


def read(path: Path, target: str) -> Rows:
    """Read what is learned from; rows without a person or a target are left out.

    Raises:
        Refusal: the file cannot be read, or has too few people.
    """
    if path.suffix not in _FORMATS:
        raise Refusal(f"heads: {path}: expected a file that ends in {' or '.join(_FORMATS)}")
    columns = {name: pa.float64() for name in (*USER_FEATURES, target)} | {PERSON: pa.string()}
    try:
        file = dataset.dataset(str(path), format=_FORMATS[path.suffix], schema=pa.schema(columns))
        table = file.to_table(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise Refusal(f"heads: {path} cannot be read: {' '.join(str(error).split())}") from None
    if never := [name for name in USER_FEATURES if table[name].null_count == len(table)]:
        print(f"never given, so neutral: {', '.join(never)}")
    neutral, wanted = Signals(), table[target].to_numpy()
    features = np.column_stack([table[name].fill_null(getattr(neutral, name)).to_numpy() for name in USER_FEATURES])
    numbers = np.isfinite(wanted) & np.isfinite(features).all(axis=1)
    given = numbers & table[PERSON].is_valid().to_numpy()
    people, person = np.unique(np.array(table[PERSON].to_pylist())[given].astype(str), return_inverse=True)
    held_out = np.array([ticket(f"heads|{each}") < _HELD_OUT for each in people.tolist()], dtype=np.bool_)
    if min(held_out.sum(), len(people) - held_out.sum()) < _LEAST_PEOPLE:
        raise Refusal(
            f"heads: {path}: {len(people)} people with a {target}, of whom {held_out.sum()} are held out;"
            f" {_LEAST_PEOPLE} are needed to learn from, and {_LEAST_PEOPLE} to judge by"
        )
    return Rows(features[given], wanted[given], person, held_out[person])


def fit(rows: Rows) -> str:
    """Fit the trees and give them as LightGBM saves them; the same rows give the same text."""
    learn = ~rows.held_out
    data = lightgbm.Dataset(rows.features[learn], rows.target[learn], feature_name=list(USER_FEATURES))
    text: str = lightgbm.train(PARAMETERS, data, num_boost_round=TREES).model_to_string()
    return text


def verdict(rows: Rows, predictions: NDArray[np.float64]) -> Verdict:
    """Judge predictions of the rows that are held out.

    >>> person, held_out = np.array([0, 1, 2]), np.array([False, True, True])
    >>> rows = Rows(np.empty((3, 0)), np.array([2.0, 1.0, 3.0]), person, held_out)
    >>> [round(each, 9) for each in verdict(rows, np.array([1.0, 2.5]))]
    [0.875, 0.25, 1.0, 7.0]
    """
    target, person = rows.target[rows.held_out], rows.person[rows.held_out]
    off, off_of_mean = predictions - target, rows.target[~rows.held_out].mean() - target
    gained = off_of_mean**2 - off**2
    # Rows of one person are alike, so people are what was sampled.
    by_person = np.bincount(person, weights=gained)[np.unique(person)]
    spread = float(by_person.std(ddof=1)) or np.inf
    return Verdict(
        r2=float(gained.sum() / (off_of_mean**2).sum()),
        mae=float(np.abs(off).mean()),
        mae_of_mean=float(np.abs(off_of_mean).mean()),
        sure=float(by_person.mean() / spread * np.sqrt(len(by_person))),
    )


def newest(conf: Releases) -> Regressions:
    """Load the newest release that holds: the heads of other parameters stay as they are.

    Raises:
        Refusal: the store cannot be read.
    """
    with refusals(conf):
        store = Store(conf.store)
        for release in reversed(store.index("heads")):
            try:
                return Heads.parse(release.version, store.read(release)).content
            except RefusedRelease as refused:
                print(f"passed over: {refused}")
    return Regressions({})


def _knob(settings: Settings, slot: str, param: str) -> Knob:
    contents = {name: each for name, each in settings.slots.items() if isinstance(each, Content)}
    if slot not in contents:
        raise Refusal(f"heads: {no_such('slot with parameters', slot, contents)}")
    params = contents[slot].params
    if param not in params:
        raise Refusal(f"heads: {no_such('parameter', param, params)}")
    if not params[param].predicted:
        raise Refusal(f"heads: {slot}.{param} is not `predicted` by anything; say by what in conf/slots.toml")
    return params[param]


def _outlook(knob: Knob, predictions: NDArray[np.float64]) -> Iterator[str]:
    """Say what the parameter would be, for which share of the moments: option by option, or at the quartiles."""
    values = tuned(knob, predictions)
    if knob.options:
        counts = Counter(values)
        yield from (f"{option} {percent(counts[option] / len(values))}" for option in knob.options)
    else:
        q1, median, q3 = np.quantile(np.array(values, dtype=np.float64), (0.25, 0.5, 0.75)).tolist()
        yield f"{median:g} in the median, {q1:g} to {q3:g} for half of the moments"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs heads", description=__doc__)
    parser.add_argument("--slot", required=True, help="a slot of the kind params")
    parser.add_argument("--param", required=True, help="one of its parameters, which is `predicted`")
    parser.add_argument("--input", required=True, type=Path, metavar="FILE", help="what is learned from, see above")
    parser.add_argument("--publish", action="store_true", help="publish it, in force releases.lead from now")
    return parser
