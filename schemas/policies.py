"""How a slot chooses among its arms, and what was learned of them: the payload of the channel `policy`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Floor = Annotated[float, Meta(ge=0, lt=1, description="Least probability of every arm that may be drawn.")]
By = Annotated[
    Literal["slot", "segment", "cluster"],
    Meta(description="Whose plays count: everybody's, or those of the person's segment, shrunk towards everybody's."),
]
Prior = Annotated[float, Meta(gt=0)]
Context = Annotated[
    list[str], Meta(min_length=1, max_length=16, description="Signals that the reward may depend on; 1 comes first.")
]


class Fixed(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="fixed"):
    """Draws by the arms' weights."""

    floor: Floor = 0.0


class Epsilon(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="epsilon"):
    """Takes the best arm, but for a share of the draws any."""

    epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.1
    by: By = "slot"
    floor: Floor = 0.0


class Ucb(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="ucb"):
    """Takes the arm that might be best (UCB1)."""

    by: By = "slot"
    floor: Floor = 0.0


class Thompson(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="thompson"):
    """Draws each arm as often as it is likely to be the best."""

    reward: Annotated[Literal["beta", "normal"], Meta(description="beta: 0 or 1, or between; normal: any size.")] = (
        "beta"
    )
    prior: Annotated[
        list[Prior], Meta(min_length=2, max_length=2, description="beta: alpha and beta; normal: mean and plays.")
    ] = field(default_factory=lambda: [1.0, 1.0])
    by: By = "slot"
    floor: Floor = 0.0


class LinUcb(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="linucb"):
    """Takes the arm that might be best for such a person (LinUCB)."""

    context: Context
    alpha: Annotated[float, Meta(ge=0)] = 1.0
    floor: Floor = 0.0


class LinThompson(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="linthompson"
):
    """Draws each arm as often as it is likely to be the best for such a person."""

    context: Context
    spread: Annotated[float, Meta(gt=0, description="Standard deviation of a reward, in its own unit.")] = 0.5
    floor: Floor = 0.0


class Leaves(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="leaves"):
    """The same, with the leaves of a LightGBM model in which a person ends as what is known of them."""

    spread: Annotated[float, Meta(gt=0)] = 0.5
    floor: Floor = 0.0


Policy = Fixed | Epsilon | Ucb | Thompson | LinUcb | LinThompson | Leaves


class Plays(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of one arm: sums of rewards in [0, 1], faded or not."""

    n: Annotated[float, Meta(ge=0, description="Plays.")] = 0.0
    total: Annotated[float, Meta(ge=0, description="Sum of the rewards.")] = 0.0
    squares: Annotated[float, Meta(ge=0, description="Sum of their squares.")] = 0.0


class Linear(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of one arm by context: a ridge regression's sums."""

    precision: Annotated[list[list[float]], Meta(description="Sum of x x', plus the identity, d rows of d.")]
    weighted: Annotated[list[float], Meta(description="Sum of reward * x, d.")]


class Sparse(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of one arm by leaf, tree after tree: the diagonal of such sums."""

    precision: list[Annotated[float, Meta(gt=0)]]
    weighted: list[float]


class Learned(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of one slot's arms, by their names; an arm that is missing was never played."""

    arms: dict[str, Plays] = {}
    segments: Annotated[dict[str, dict[str, Plays]], Meta(description="The same by rule segment.")] = {}
    clusters: Annotated[dict[str, dict[str, Plays]], Meta(description="The same by cluster id.")] = {}
    context: Annotated[list[str], Meta(description="Signals of the linear sums, in order.")] = []
    linear: dict[str, Linear] = {}
    trees: Annotated[
        str, Meta(description="LightGBM's text of the trees whose leaves count; they ask user features alone.")
    ] = ""
    leaves: dict[str, Sparse] = {}


class Posteriors(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`policy.json`: what was learned, by slot."""

    slots: dict[str, Learned]
    until: Annotated[int, Meta(ge=0, description="End of the last period it counts, ms since 1970; 0: of none.")] = 0
