"""What a team may write in conf/, and what it is told when it slips."""

import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import fields

from jobs.wiring import Refusal
from jobs.wiring.layers import BASE, SINGLE, environments
from jobs.wiring.lines import Path as Keys
from jobs.wiring.lines import lines
from jobs.wiring.settings import BadSettings, Loaded, load, render
from schemas.durations import Millis
from schemas.settings import SECRETS, Settings

CONF = Path(__file__).parents[2] / "conf"

SLIPS = r"""
[decide]
refrsh = "5s"
=> 2: decide.refrsh: unknown key; did you mean decide.refresh?

[decidee]
refresh = "5s"
=> 1: decidee: unknown key; did you mean decide?

[decide]
pulse = "5s"
=> 2: decide.pulse: unknown key; did you mean time.pulse?

[redis]
x = 1
=> 2: redis.x: unknown key; there are: url, prefix, connect_timeout, command_timeout, keys_per_call, pause, grace

[slots.hero]
length = 3
=> 2: slots.hero.length: unknown key; there are: kind, arms, default, policies, policy, shadow, resolve, guards, reward

[decide]
refresh = 5
=> 2: decide.refresh: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got 5

[decide]
refresh = "5"
=> 2: decide.refresh: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got "5"

[decide]
refresh = "5 weeks"
=> 2: decide.refresh: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got "5 weeks"

[flink]
rest_port = "8081"
=> 2: flink.rest_port: expected a whole number >= 0 and <= 65535, got "8081"

[flink]
parallelism = 0
=> 2: flink.parallelism: expected a whole number >= 1, got 0

[clusters]
k = 1
=> 2: clusters.k: expected a whole number >= 2 and <= 62, got 1

[clusters]
layers = [4, 1]
=> 2: clusters.layers: expected a list, each a whole number >= 2, got [4, 1]

[signals.points]
view = inf
=> 2: signals.points.view: expected a number >= -1000 and <= 1000, got Infinity

[slots.hero.arms.plain]
weight = inf
=> 2: slots.hero.arms.plain.weight: expected a number > 0, got Infinity

[redis]
prefix = "T T"
=> 2: redis.prefix: expected text like ^[a-z0-9]{1,16}$, got "T T"

[kafka]
exactly_once = "yes"
=> 2: kafka.exactly_once: expected true or false, got "yes"

time = 3
=> 1: time: expected a table, got 3

[slots.hero.guards]
caps = [
  { shown = 3 },
  { show = 3, per = "week" },
]
=> 2: slots.hero.guards.caps.2.show: unknown key; did you mean slots.hero.guards.caps.2.shown?
2: slots.hero.guards.caps.2.shown: missing; expected a whole number >= 1
2: slots.hero.guards.caps.2.per: expected one of session, day, life, got "week"

[slots.hero.arms.plain.params]
x = [1]
=> 2: slots.hero.arms.plain.params.x: expected text or a whole number or a number or true or false, got [1]

[slots.feed]
length = 3
=> 1: slots.feed.kind: missing; expected "rerank" or "variant" or "trigger" or "params"

[slots.hero]
kind = "poll"
=> 2: slots.hero.kind: expected "rerank" or "variant" or "trigger" or "params", got "poll"

[slots.bare]
kind = "variant"
arms = {}
default = "a"
=> 3: slots.bare.arms: expected a table of length >= 1, got {}

[topics.extra]
about = "x"
config = {}
=> 1: topics.extra.partitions: missing; expected a whole number >= 1

[segments.rules.engaged]
fro = "10s"
=> 2: segments.rules.engaged.fro: unknown key; did you mean segments.rules.engaged.for?

[segments.rules.engaged]
hold = "10s"
=> 2: segments.rules.engaged.hold: unknown key; there are: about, enter, leave, for, min_events

[segments.rules.engaged]
for = 10
=> 2: segments.rules.engaged.for: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got 10

[segments.rules.engaged]
min_events = -1
=> 2: segments.rules.engaged.min_events: expected a whole number >= 0, got -1

[segments.rules.keen]
about = "Ours."
=> 1: segments.rules.keen.enter: missing; expected text

[kafka]
wait =
=> 2: not TOML: Invalid value (at line 2, the last)

[kafka]
# how long to wait
wait
=> 3: not TOML: Expected '=' after a key in a key/value pair (at line 3, the last)
"""

LAYOUT = r'''# one = 1
[a.b]   # [c]
x = 1979-05-27
# y = 4
y = { 'k"= 1' = [
  [1], # "
], l = "}" }

[a]
z."q.r" = 1
s = """
[n]
m = 2 \""" """
t = [
  ["u"], [["v"]],
]
[[g]]
j = 1
[g.k]
l = 1
[[g]]
[h]
i = ~[m]
n = 1''~
o = 1
'''.replace("~", 3 * "'")

MISFITS = r"""
[clusters]
features = ["rate_mid", "sesion_depth"]
=> 2: clusters.features: there is no signal "sesion_depth"; did you mean session_depth?; got

[clusters]
features = ["rate_mid", "scroll", "rate_mid"]
=> 2: clusters.features: rate_mid stands there twice; got

[clusters]
features = []
=> 2: clusters.features: must name a signal or more; got clusters.features = []

[clusters]
k = 5
layers = [5, 2]
=> 3: clusters.layers: must fall, from fewer than clusters.k on; got clusters.layers = [5, 2], clusters.k = 5

[clusters]
layers = [2, 4]
=> 2: clusters.layers: must fall, from fewer than clusters.k on; got clusters.layers = [2, 4]

[clusters]
min_rows = 2000
max_rows = 1999
=> 3: clusters.max_rows: must not be less than clusters.min_rows; got clusters.max_rows = 1999, clusters.min_rows = 2000

[clusters]
every = "0s"
=> 2: clusters.every: must be longer than nothing; got

[slots.hero.reward]
within = "1h"
=> 2: slots.hero.reward.within: must not be longer than learn.window

[slots.hero.reward.most]
purchase = 2
=> 2: slots.hero.reward.most.purchase: purchase is worth nothing: name it in worth too

[watch]
window = "0s"
=> 2: watch.window: must be longer than nothing; got

[watch]
stretch = "59min"
=> 2: watch.stretch: watch.stretch must be at least watch.start windows, or no run knows what is usual; got

[watch]
weight = 1.5
=> 2: watch.weight: expected a number > 0 and <= 1, got 1.5

[slots.hero]
default = "loud"
=> 2: slots.hero.default: expected one of its arms:

[slots.page.params.length]
cuts = [40.0, 10.0]
=> 2: slots.page.params.length.cuts: must rise, as the options do; got slots.page.params.length.cuts = [40.0, 10.0]

[slots.page.params.text]
default = "x"
predicted = "read_s"
=> 3: slots.page.params.text.predicted: is for numbers, and for options with `cuts` between them; got

[slots.page.params.size]
default = "m"
options = ["s", "m", "l"]
predicted = "read_s"
=> 1: slots.page.params.size.cuts: 3 options need 2 numbers between them

[rules.reading.cases.reader]
when = 'segment == "reder"'
=> 2: rules.reading.cases.reader.when: column 12: there is no segment "reder"; did you mean reader?; got

[experiments.e]
slot = "hero"
when = 'connection == "slowly"'
arms = { a = {}, b = {} }
=> 3: experiments.e.when: column 15: there is no connection "slowly"; did you mean slow?; got

[slots.nudge.guards]
quiet_when = 'device in ("mobile", "watch")'
=> 2: slots.nudge.guards.quiet_when: column 22: there is no device "watch"; there are: desktop, mobile, tablet

[segments.rules.reader]
enter = 'device == "moble"'
=> 2: segments.rules.reader.enter: column 11: there is no device "moble"; did you mean mobile?; got

[slots.home_feed]
candidates = 3
length = 4
=> 2: slots.home_feed.candidates: a slot cannot show more items than it has candidates; got

[signals]
fast = "3min"
mid = "2min"
slow = "15min"
=> 2: signals.fast: must be in the order signals.fast < signals.mid < signals.slow; got

[signals]
fast = "10s"
[time]
session_cap = "100min"
=> 4: time.session_cap: time.session_cap must be shorter than 600 times signals.fast, or its sums overflow; got

[formats.shop]
about = "Ours."
like = "segmant"
=> 1: formats.shop: there is no format "segmant"

[formats.shop]
about = "Ours."
user_id = "who..id"
=> 1: formats.shop: kind: missing, and so are kinds

[consent.purposes.advertise]
categories = ["advertising"]
tcf = [3, 4]
=> 1: consent.purposes.advertise: no such purpose; there are: personalize, learn, measure

[clean]
format = "segway"
=> 2: clean.format: expected one of trimtab,

[segments.rules.engaged]
enter = "rate_fst > 1"
=> 2: segments.rules.engaged.enter: column 1: unknown name rate_fst; did you mean rate_fast?; got

[segments.rules.engaged]
leave = "rate_slow"
=> 2: segments.rules.engaged.leave: column 1: a number comes out, expected a condition such as "rate_fast > 1"; got

[segments.rules.engaged]
for = "3h"
=> 2: segments.rules.engaged.for: must not be longer than time.session_cap; got segments.rules.engaged.for = "3h", time

[segments.rules."Very keen"]
about = "Ours."
enter = "rate_fast > 1"
=> 1: segments.rules."Very keen": expected a name like ^[a-z][a-z0-9_-]{0,31}$

[time]
memory = "30min"
session_gap = "30min"
=> 3: time.session_gap: must be in the order 2 * time.slice <= quiet.pause < time.session_gap < quiet.gone < time.memory

[time]
slice = "0s"
=> 2: time.slice: must be longer than nothing; got

[quiet]
pause = "40min"
=> 2: quiet.pause: must be in the order 2 * time.slice <= quiet.pause < time.session_gap < quiet.gone < time.memory; got

[signals]
rating = [5.0, 1.0]
=> 2: signals.rating: expected the lowest value and then the highest; got

[signals]
interests = ["sport", "news", "sport"]
=> 2: signals.interests: an interest stands there twice; got
"""


def pairs(golden: str) -> list[tuple[str, str]]:
    """Split a text of pairs: what conf/trial.toml says, then `=>` and what is answered, from the line's number on."""
    split = (pair.partition("\n=> ") for pair in golden.strip().split("\n\n"))
    return [(toml, "\n".join(f"conf/trial.toml:{line}" for line in message.split("\n"))) for toml, _, message in split]


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
    return str(caught.value)


@pytest.mark.parametrize("env", sorted({file.stem for file in CONF.glob("*.toml")} - {BASE, *SINGLE}))
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


def test_environments_may_be_laid_over_each_other_and_each_must_be_there(root: Path) -> None:
    (root / "conf" / "one.toml").write_text('[time]\nslice = "250ms"\npulse = "100ms"')
    (root / "conf" / "two.toml").write_text('[time]\nslice = "500ms"')
    loaded = load(root, "one+two", {}, [])
    assert (loaded.settings.time.slice, loaded.settings.time.pulse) == (500, 100)
    with pytest.raises(BadSettings, match=r'^conf/three\.toml: there is no environment "three"'):
        load(root, "one+three", {}, [])


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
    loaded = load(root, "trial", {}, ["slots.hero.arms.story={weight=0.4}"])
    assert loaded.origins["slots.hero.arms.story.weight"] == (0.4, "--set")
    assert loaded.origins["slots.hero.arms.story.params.motion"] == ("soft", "conf/slots.toml")


@pytest.mark.parametrize(("toml", "message"), pairs(SLIPS))
def test_a_slip_is_named_with_file_line_path_and_remedy(root: Path, toml: str, message: str) -> None:
    assert refused(root, toml) == message


@pytest.mark.parametrize(("toml", "message"), pairs(MISFITS))
def test_what_does_not_fit_together_is_refused(root: Path, toml: str, message: str) -> None:
    found = refused(root, toml)
    assert found.startswith(message)
    assert "\n" not in found


def test_every_purpose_says_what_grants_it(root: Path) -> None:
    base = root / "conf" / "base.toml"
    text = base.read_text()
    start = text.index("[consent.purposes.learn]")
    base.write_text(text[:start] + text[text.index("[consent.purposes.measure]") :])
    line = text.splitlines().index("[consent.purposes.personalize]") + 1
    assert refused(root, "") == (
        f"conf/base.toml:{line}: consent.purposes: learn is missing; it has categories and TCF purposes that grant it"
    )


def test_a_slot_is_capped_only_where_it_is_counted(root: Path) -> None:
    slot = '[slots.s]\nkind = "variant"\narms.a = { weight = 1 }\ndefault = "a"\nguards.caps = [{ shown = 3 }]'
    assert refused(root, slot) == (
        'conf/trial.toml:5: slots.s.guards.caps: "s" is not counted; append it to exposures.counters, and restart the '
        'job; got slots.s.guards.caps = [{"shown": 3}]'
    )


def test_all_that_is_wrong_is_told_a_line_each(root: Path) -> None:
    toml = '[decide]\nrefrsh = "5s"\nvalid = 5\n[slots.feed]\n[time]\nslice = "0s"'
    assert refused(root, toml).splitlines() == [
        "conf/trial.toml:2: decide.refrsh: unknown key; did you mean decide.refresh?",
        'conf/trial.toml:3: decide.valid: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got 5',
        'conf/trial.toml:4: slots.feed.kind: missing; expected "rerank" or "variant" or "trigger" or "params"',
    ]
    toml = '[clusters]\nfeatures = []\n[time]\nslice = "0s"'
    assert refused(root, toml).splitlines() == [
        "conf/trial.toml:2: clusters.features: must name a signal or more; got clusters.features = []",
        'conf/trial.toml:4: time.slice: must be longer than nothing; got time.slice = "0s"',
    ]


def paths(table: dict[str, object], at: Keys = ()) -> Iterator[Keys]:
    for key, value in table.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from paths(value, (*at, key))


@pytest.mark.parametrize("file", sorted(CONF.glob("*.toml")), ids=lambda file: file.name)
def test_every_setting_of_every_file_is_found_on_a_line_that_holds_its_key(file: Path) -> None:
    text = file.read_text()
    found, rows = lines(text), text.splitlines()
    assert set(found) == set(paths(tomllib.loads(text)))
    assert [path for path, line in found.items() if path[-1] not in rows[line - 1]] == []


def test_lines_are_counted_through_texts_lists_comments_and_tables_in_lists() -> None:
    assert set(lines(LAYOUT)) == set(paths(tomllib.loads(LAYOUT)))
    assert lines(LAYOUT) == {
        ("a",): 9,
        ("a", "b"): 2,
        ("a", "b", "x"): 3,
        ("a", "b", "y"): 5,
        ("a", "b", "y", 'k"= 1'): 5,
        ("a", "b", "y", "l"): 7,
        ("a", "z"): 10,
        ("a", "z", "q.r"): 10,
        ("a", "s"): 11,
        ("a", "t"): 14,
        ("g",): 17,
        ("h",): 22,
        ("h", "i"): 23,
        ("h", "o"): 25,
    }


def test_there_are_no_more_rule_segments_than_are_counted(root: Path) -> None:
    rules = [f'[segments.rules.s{n}]\nabout = "Ours."\nenter = "hour == {n}"' for n in range(9)]
    (root / "conf" / "segments.toml").write_text("\n".join(rules[:8]))
    (root / "conf" / "rules.toml").write_text("[rules]\n")  # its rules ask for segments that there are no longer
    assert [*trial(root, "").settings.segments.rules] == ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]
    assert refused(root, rules[8]) == "conf/trial.toml:1: segments.rules.s8: at most 8 rule segments"


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
    assert refused(root, "") == "conf/formats.toml:1: slots: only [formats] belongs here"


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
        "conf/trial.toml:2: pseudonyms.key: expected text, got a value that is not shown"
    )
    assert refused(root, 'pseudonyms = "hunter2"') == (
        "conf/trial.toml:1: pseudonyms: expected a table, got a value that is not shown"
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
