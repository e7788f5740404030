"""What a team may write in conf/, and what it is told when it slips."""

import shutil
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import fields

from jobs.wiring import Refusal
from jobs.wiring.layers import environments
from jobs.wiring.settings import BadSettings, Loaded, load, render
from schemas.durations import Millis
from schemas.settings import SECRETS, Settings

CONF = Path(__file__).parents[2] / "conf"

SLIPS = r"""
[decide]
refrsh = "5s"
=> decide.refrsh: unknown key; did you mean decide.refresh?

[decidee]
refresh = "5s"
=> decidee: unknown key; did you mean decide?

[decide]
pulse = "5s"
=> decide.pulse: unknown key; did you mean time.pulse?

[redis]
x = 1
=> redis.x: unknown key; there are: url, prefix, connect_timeout, command_timeout, keys_per_call, pause, grace

[slots.hero]
length = 3
=> slots.hero.length: unknown key; there are: kind, arms, default, cap

[decide]
refresh = 5
=> decide.refresh: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got 5

[decide]
refresh = "5"
=> decide.refresh: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got "5"

[decide]
refresh = "5 weeks"
=> decide.refresh: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got "5 weeks"

[flink]
rest_port = "8081"
=> flink.rest_port: expected a whole number >= 0 and <= 65535, got "8081"

[flink]
parallelism = 0
=> flink.parallelism: expected a whole number >= 1, got 0

[clusters]
k = 1
=> clusters.k: expected a whole number >= 2 and <= 62, got 1

[clusters]
layers = [4, 1]
=> clusters.layers: expected a list, each a whole number >= 2, got [4, 1]

[signals.points]
view = inf
=> signals.points.view: expected a number >= -1000 and <= 1000, got Infinity

[slots.hero.arms.plain]
weight = inf
=> slots.hero.arms.plain.weight: expected a number > 0, got Infinity

[redis]
prefix = "T T"
=> redis.prefix: expected text like ^[a-z0-9]{1,16}$, got "T T"

[kafka]
exactly_once = "yes"
=> kafka.exactly_once: expected true or false, got "yes"

time = 3
=> time: expected a table, got 3

[slots.hero.cap]
per = "day"
=> slots.hero.cap.per: expected one of session, got "day"

[slots.hero.arms.plain.params]
x = [1]
=> slots.hero.arms.plain.params.x: expected text or a whole number or a number or true or false, got [1]

[slots.feed]
length = 3
=> slots.feed.kind: missing; expected "rerank" or "variant"

[slots.hero]
kind = "poll"
=> slots.hero.kind: expected "rerank" or "variant", got "poll"

[slots.bare]
kind = "variant"
arms = {}
default = "a"
=> slots.bare.arms: expected a table of length >= 1, got {}

[topics.extra]
about = "x"
config = {}
=> topics.extra.partitions: missing; expected a whole number >= 1

[segments.rules.engaged]
fro = "10s"
=> segments.rules.engaged.fro: unknown key; did you mean segments.rules.engaged.for?

[segments.rules.engaged]
hold = "10s"
=> segments.rules.engaged.hold: unknown key; there are: about, enter, leave, for, min_events

[segments.rules.engaged]
for = 10
=> segments.rules.engaged.for: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got 10

[segments.rules.engaged]
min_events = -1
=> segments.rules.engaged.min_events: expected a whole number >= 0, got -1

[segments.rules.keen]
about = "Ours."
=> segments.rules.keen.enter: missing; expected text

[kafka]
wait =
=> not TOML: Invalid value (at line 2, the last)

[kafka]
# how long to wait
wait
=> not TOML: Expected '=' after a key in a key/value pair (at line 3, the last)
"""

MISFITS = r"""
[clusters]
features = ["rate_mid", "sesion_depth"]
=> clusters.features: there is no signal "sesion_depth"; did you mean session_depth?; got

[clusters]
features = ["rate_mid", "scroll", "rate_mid"]
=> clusters.features: rate_mid stands there twice; got

[clusters]
features = []
=> clusters.features: must name a signal or more; got clusters.features = []

[clusters]
k = 5
layers = [5, 2]
=> clusters.layers: must fall, from fewer than clusters.k on; got clusters.layers = [5, 2], clusters.k = 5

[clusters]
layers = [2, 4]
=> clusters.layers: must fall, from fewer than clusters.k on; got clusters.layers = [2, 4]

[clusters]
min_rows = 2000
max_rows = 1999
=> clusters.max_rows: must not be less than clusters.min_rows; got clusters.max_rows = 1999, clusters.min_rows = 2000

[clusters]
every = "0s"
=> clusters.every: must be longer than nothing; got

[watch]
window = "0s"
=> watch.window: must be longer than nothing; got

[watch]
stretch = "59min"
=> watch.stretch: watch.stretch must be at least watch.start windows, or no run knows what is usual; got

[watch]
weight = 1.5
=> watch.weight: expected a number > 0 and <= 1, got 1.5

[slots.hero]
default = "loud"
=> slots.hero.default: expected one of its arms:

[slots.home_feed]
candidates = 3
length = 4
=> slots.home_feed.candidates: a slot cannot show more items than it has candidates; got

[signals]
fast = "3min"
mid = "2min"
slow = "15min"
=> signals.fast: must be in the order signals.fast < signals.mid < signals.slow; got

[signals]
fast = "10s"
[time]
session_cap = "100min"
=> time.session_cap: time.session_cap must be shorter than 600 times signals.fast, or its sums overflow; got

[formats.shop]
about = "Ours."
like = "segmant"
=> formats.shop: there is no format "segmant"

[formats.shop]
about = "Ours."
user_id = "who..id"
=> formats.shop: kind: missing, and so are kinds

[consent.purposes.advertise]
categories = ["advertising"]
tcf = [3, 4]
=> consent.purposes.advertise: no such purpose; there are: personalize, learn, measure

[clean]
format = "segway"
=> clean.format: expected one of trimtab,

[segments.rules.engaged]
enter = "rate_fst > 1"
=> segments.rules.engaged.enter: column 1: unknown name rate_fst; did you mean rate_fast?; got

[segments.rules.engaged]
leave = "rate_slow"
=> segments.rules.engaged.leave: column 1: a number comes out, expected a condition such as "rate_fast > 1"; got

[segments.rules.engaged]
for = "3h"
=> segments.rules.engaged.for: must not be longer than time.session_cap; got segments.rules.engaged.for = "3h", time

[segments.rules."Very keen"]
about = "Ours."
enter = "rate_fast > 1"
=> segments.rules."Very keen": expected a name like ^[a-z][a-z0-9_-]{0,31}$

[time]
memory = "30min"
session_gap = "30min"
=> time.memory: time.memory must be longer than time.session_gap; got

[time]
slice = "0s"
=> time.slice: must be longer than nothing; got

[quiet]
pause = "40min"
=> quiet.pause: must be in the order 2 * time.slice <= quiet.pause < time.session_gap < quiet.gone < time.memory; got

[signals]
rating = [5.0, 1.0]
=> signals.rating: expected the lowest value and then the highest; got

[signals]
interests = ["sport", "news", "sport"]
=> signals.interests: an interest stands there twice; got
"""


def pairs(golden: str) -> list[tuple[str, str]]:
    """Split a text of pairs: what conf/trial.toml says, then `=>` and what is answered."""
    return [(toml, message) for toml, _, message in (pair.partition("\n=> ") for pair in golden.strip().split("\n\n"))]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of conf/ with an empty environment, `trial`."""
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / "trial.toml").write_text("")
    return tmp_path


def trial(root: Path, toml: str) -> Loaded:
    (root / "conf" / "trial.toml").write_text(toml)
    return load(root, "trial", {}, [])


def refused(root: Path, toml: str) -> str:
    with pytest.raises(BadSettings) as caught:
        trial(root, toml)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "env", sorted({file.stem for file in CONF.glob("*.toml")} - {"base", "slots", "segments", "topics", "formats"})
)
def test_every_environment_there_is_a_file_for_loads(env: str) -> None:
    assert isinstance(load(CONF.parent, env, {}, []).settings, Settings)


def test_each_layer_wins_over_the_one_below_and_the_origin_says_so(root: Path) -> None:
    (root / "conf" / "trial.toml").write_text('[time]\nslice = "250ms"\npulse = "100ms"\nidle = "20s"')
    environ = {"TRIMTAB__TIME__PULSE": "50ms", "trimtab__time__idle": "30s", "TRIMTAB_STACK": "x", "PATH": "/bin"}
    loaded = load(root, "trial", environ, ["time.idle=40s"])
    time = loaded.settings.time
    assert (time.slice, time.pulse, time.idle) == (250, 50, 40_000)
    assert loaded.origins["time.memory"][1] == "conf/base.toml"
    assert loaded.origins["slots.hero.default"][1] == "conf/slots.toml"
    assert loaded.origins["time.slice"] == ("250ms", "conf/trial.toml")
    assert loaded.origins["time.pulse"] == ("50ms", "environment TRIMTAB__TIME__PULSE")
    assert loaded.origins["time.idle"] == ("40s", "--set")


def test_durations_become_milliseconds(root: Path) -> None:
    memory = trial(root, '[time]\nmemory = "8d"').settings.time.memory
    assert (memory, type(memory)) == (691_200_000, Millis)


def test_a_table_may_be_changed_in_one_place_and_keeps_the_rest(root: Path) -> None:
    settings = trial(root, "[slots.home_feed]\nlength = 4\ncandidates = 9").settings
    assert settings.slots["home_feed"].length == 4  # type: ignore[union-attr]
    assert "hero" in settings.slots


@pytest.mark.parametrize(
    ("typed", "path", "value"),
    [
        ("decide.seed=12345678", "decide.seed", "12345678"),
        ("decide.seed=2026-01-01", "decide.seed", "2026-01-01"),
        ('decide.seed="quoted"', "decide.seed", "quoted"),
        ("decide.refresh=10s", "decide.refresh", "10s"),
        ("segments.rules.engaged.for=20s", "segments.rules.engaged.for", "20s"),
        ("segments.rules.engaged.enter=hour >= 9", "segments.rules.engaged.enter", "hour >= 9"),
        ("kafka.exactly_once=true", "kafka.exactly_once", True),
        ("signals.points.rage=-3", "signals.points.rage", -3),
        ('decide.urgent=["cart"]', "decide.urgent", ["cart"]),
        ("pseudonyms.key_file=", "pseudonyms.key_file", ""),
        ("redis.url=redis://u:a=b@127.0.0.1/0", "redis.url", "redis://u:a=b@127.0.0.1/0"),
        ('topics.clicks.config."retention.ms"=5', 'topics.clicks.config."retention.ms"', "5"),
    ],
)
def test_a_typed_value_is_toml_where_that_fits_the_setting_and_else_text(
    root: Path, typed: str, path: str, value: object
) -> None:
    assert load(root, "trial", {}, [typed]).origins[path] == (value, "--set")


def test_a_typed_table_is_laid_over_the_one_in_the_files(root: Path) -> None:
    loaded = load(root, "trial", {}, ["slots.hero.cap={shown=3}"])
    assert loaded.origins["slots.hero.cap.shown"] == (3, "--set")
    assert loaded.origins["slots.hero.cap.per"] == ("session", "conf/slots.toml")


@pytest.mark.parametrize(("toml", "message"), pairs(SLIPS))
def test_a_slip_is_named_with_file_path_and_remedy(root: Path, toml: str, message: str) -> None:
    assert refused(root, toml) == f"conf/trial.toml: {message}"


@pytest.mark.parametrize(("toml", "message"), pairs(MISFITS))
def test_what_does_not_fit_together_is_refused(root: Path, toml: str, message: str) -> None:
    assert refused(root, toml).startswith(f"conf/trial.toml: {message}")


def test_every_purpose_says_what_grants_it(root: Path) -> None:
    base = root / "conf" / "base.toml"
    text = base.read_text()
    start = text.index("[consent.purposes.learn]")
    base.write_text(text[:start] + text[text.index("[consent.purposes.measure]") :])
    assert refused(root, "") == (
        "conf/base.toml: consent.purposes: learn is missing; it has categories and TCF purposes that grant it"
    )


def test_no_more_slots_are_capped_than_are_counted(root: Path) -> None:
    slot = '[slots.s{}]\nkind = "variant"\narms.a = {{ weight = 1 }}\ndefault = "a"\ncap = {{ shown = 3 }}'
    message = refused(root, "\n".join(slot.format(n) for n in range(5)))
    assert message.startswith("conf/trial.toml: slots.s0.cap.shown: at most 4 slots may have a cap; got ")


def test_there_are_no_more_rule_segments_than_are_counted(root: Path) -> None:
    rules = [f'[segments.rules.s{n}]\nabout = "Ours."\nenter = "hour == {n}"' for n in range(9)]
    (root / "conf" / "segments.toml").write_text("\n".join(rules[:8]))
    assert [*trial(root, "").settings.segments.rules] == ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]
    assert refused(root, rules[8]) == "conf/trial.toml: segments.rules.s8: at most 8 rule segments"


def test_rule_segments_keep_the_order_of_the_file_and_what_is_added_comes_last(root: Path) -> None:
    before = [*trial(root, "").settings.segments.rules]
    added = '[segments.rules.keen]\nabout = "Ours."\nenter = "hour > 9"\n[segments.rules.engaged]\nfor = "1min"'
    rules = trial(root, added).settings.segments.rules
    assert [*rules] == [*before, "keen"]
    assert (rules["engaged"].hold, type(rules["engaged"].hold)) == (60_000, Millis)
    assert (rules["keen"].hold, rules["keen"].leave, rules["keen"].min_events) == (0, None, 0)


def test_of_two_settings_that_clash_the_later_one_is_named(root: Path) -> None:
    toml = '[signals]\nfast = "15s"\nmid = "2min"\nslow = "15min"'
    (root / "conf" / "trial.toml").write_text(toml)
    with pytest.raises(BadSettings) as caught:
        load(root, "trial", {}, ["signals.mid=20min"])
    assert str(caught.value) == (
        "--set: signals.mid: must be in the order signals.fast < signals.mid < signals.slow; "
        'got signals.fast = "15s", signals.mid = "20min", signals.slow = "15min"'
    )


def test_a_variable_is_named_as_it_was_written(root: Path) -> None:
    with pytest.raises(BadSettings) as caught:
        load(root, "trial", {"TRIMTAB__DECIDE__REFRSH": "5s"}, [])
    assert str(caught.value) == (
        "environment TRIMTAB__DECIDE__REFRSH: decide.refrsh: unknown key; did you mean decide.refresh?"
    )


@pytest.mark.parametrize("typed", ["decide.refresh", "=5", "a b=5", ""])
def test_an_override_that_is_no_assignment_is_refused(root: Path, typed: str) -> None:
    with pytest.raises(BadSettings, match=r"^--set: .*: expected section\.key=value, such as decide\.refresh=10s$"):
        load(root, "trial", {}, [typed])


def test_an_unknown_environment_names_those_there_are(root: Path) -> None:
    for env in environments(root):
        (root / "conf" / f"{env}.toml").unlink()
    (root / "conf" / "trial.toml").touch()
    with pytest.raises(BadSettings) as caught:
        load(root, "prod", {}, [])
    assert str(caught.value) == 'conf/prod.toml: there is no environment "prod"; there are: trial'


def test_a_file_of_one_table_holds_no_other(root: Path) -> None:
    (root / "conf" / "formats.toml").write_text("[slots.hero]\nlength = 3")
    assert refused(root, "") == "conf/formats.toml: slots: only [formats] belongs here"


def test_a_missing_file_and_one_that_is_no_text_are_named(root: Path) -> None:
    (root / "conf" / "topics.toml").write_bytes(b"# caf\xe9")
    assert refused(root, "") == "conf/topics.toml: not UTF-8 at byte 5; save it as UTF-8"
    (root / "conf" / "topics.toml").unlink()
    assert refused(root, "") == "conf/topics.toml: there is no such file; it belongs in the folder conf/"


def test_a_secret_is_shown_neither_in_print_nor_in_a_refusal(root: Path) -> None:
    typed = ["pseudonyms.key=hunter2-hunter2", "redis.url=redis://me:p@ss/w@127.0.0.1:6379/0?password=hunter2"]
    lines = render(load(root, "trial", {}, typed)).splitlines()
    assert [line.split("    ")[0].rstrip() for line in lines if line.startswith(("pseudonyms.key ", "redis.url"))] == [
        'pseudonyms.key = "***"',
        'redis.url = "redis://me:***@127.0.0.1:6379/0?password=***"',
    ]
    assert refused(root, "[pseudonyms]\nkey = 271828") == (
        "conf/trial.toml: pseudonyms.key: expected text, got a value that is not shown"
    )
    assert refused(root, 'pseudonyms = "hunter2"') == (
        "conf/trial.toml: pseudonyms: expected a table, got a value that is not shown"
    )


def test_every_secret_is_a_setting() -> None:
    sections = {field.name: field.type for field in fields(Settings)}
    for path in SECRETS:
        section, _, key = path.partition(".")
        assert key in {field.name for field in fields(sections[section])}


def test_settings_are_printed_one_a_line_with_their_origin(root: Path) -> None:
    lines = render(load(root, "trial", {}, ["time.slice=250ms"])).splitlines()
    assert 'time.slice = "250ms" # --set' in [" ".join(line.split()) for line in lines]
    assert all("    # " in line for line in lines)


def test_settings_load_from_inside_an_archive(root: Path) -> None:
    archive = root / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for toml in (root / "conf").iterdir():
            file.write(toml, f"conf/{toml.name}")
    assert load(zipfile.Path(archive), "trial", {}, []) == load(root, "trial", {}, [])


def test_a_bad_setting_is_a_refusal_like_any_other() -> None:
    assert issubclass(BadSettings, Refusal)
