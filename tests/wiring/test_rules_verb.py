"""What a team types to check its rules and to publish them, and what comes back: all that is wrong, with its line."""

import shutil
from pathlib import Path

import pytest

from jobs.__main__ import main
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from udfs.deciding.book import Book, authored

ROOT = Path(__file__).parents[2]

RULES = """\
[rules.welcome]
slot = "nudge"
about = "Who is new is shown around."
priority = 10

[rules.welcome.cases.new]
when = "sessions <= 1"
then = { arms = ["tip"] }
for = "20s"
min_events = 3
schedule = { hours = [8, 22], days = ["sat", "sun"], since = 2026-12-01T00:00:00Z }
impact = "high"
effort = "low"

[rules.welcome.cases.lost]
when = "session_backs > 2"
then = { arms = ["tip", "help"] }

[rules.welcome.else]
arms = ["help"]

[rules.rescue]
slot = "nudge"
priority = 20
cases.cart.when = "cart_items > 0"
cases.cart.then.arms = ["help"]

[rules.short]
slot = "page"
cases.slow = { when = 'connection == "slow"', then = { set = { images = false } } }

[rules.sport]
slot = "feed"
cases.fan = { when = "taste > 0.5", then = { pin = ["a91"], boost = { sport = 0.2 } } }
"""
SLOTS = """\
[slots.feed]
kind = "rerank"
length = 4
candidates = 8
explore = 0.1
windows = { most = 2, window = 4 }

[slots.hero]
kind = "variant"
default = "plain"
arms.plain = { weight = 3 }
arms.story = {}
policy = "learned"
policies.learned = { kind = "thompson", floor = 0.1 }
guards = { min_events = 5, confidence = 0.6, refresh = "5min", changes = 2 }

[slots.nudge]
kind = "trigger"
arms = { tip = {}, help = {} }
guards.caps = [{ shown = 1 }, { shown = 9, per = "life", of = "*" }]
guards.cooldown = "10min"
guards.quiet_when = "rate_fast > 3"

[slots.page]
kind = "params"
params.images = { default = true }
params.columns = { default = 2, least = 1, most = 4 }
"""
EXPERIMENTS = """\
[experiments.pace]
slot = "hero"
when = "sessions > 1"
namespace = { name = "all", from = 0.0, until = 0.5 }
ramp = [{ at = 2026-12-01T09:00:00Z, share = 0.1 }, { at = 2026-12-08T09:00:00Z, share = 1.0 }]
arms.quick = { refresh = "1min", rules = false }
arms.fixed = { policy = "weights", arms = ["story"] }
arms.control = { control = true, weight = 2 }
"""
TOLD = """\
feed: a list of 4, out of 8 candidates, 10 % of the places drawn from the rest, at most 2 of an interest in 4 places
  where rules speak, the highest priority counts, of equals the first
  rule sport, priority 0
    fan: taste > 0.5
      then pin a91, boost sport +0.2; impact medium, effort medium
hero: one of plain (75 %), story (25 %); the default is plain
  policy learned: thompson, each arm at least 10 %
  guard evidence: at least 5 events in the session
  guard confidence: the likeliest arm has at least 60 %
  guard changes: drawn anew every 5min, at most 2 times in a session
  experiment pace: those of whom sessions > 1, 0 % to 50 % of namespace all
    ramp: 10 % from 2026-12-01T09:00:00+00:00 on, 100 % from 2026-12-08T09:00:00+00:00 on
    arm quick (25 %): drawn anew every 1min, no rule counts
    arm fixed (25 %): policy weights, arms story
    arm control (50 %): the default, and nothing else
nudge: nothing until a rule asks for one of help, tip
  guard cap: at most 1 in a session
  guard cap: at most 9 ever, all slots together
  guard cooldown: at least 10min since it was shown
  guard pacing: not while rate_fast > 3
  where rules speak, the highest priority counts, of equals the first
  rule rescue, priority 20
    cart: cart_items > 0
      then arms help; impact medium, effort medium
  rule welcome, priority 10: Who is new is shown around.
    new: sessions <= 1
      and only once that has held for 20s, after 3 events of the session, since 2026-12-01T00:00:00+00:00, \
from 8 to 22 o'clock where the person is, on sat sun (UTC)
      then arms tip; impact high, effort low
    lost: session_backs > 2
      then arms tip help; impact medium, effort medium
    else: arms help
page: images = true, columns = 2 (>= 1, <= 4)
  where rules speak, the highest priority counts, of equals the first
  rule short, priority 0
    slow: connection == "slow"
      then set images=false; impact medium, effort medium
holdout: 5 % of all people get the default in every slot
holds together: 4 slots, 4 rules, 1 experiments
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of conf/ with slots, rules and an experiment of our own."""
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    for name, text in (("slots", SLOTS), ("rules", RULES), ("experiments", EXPERIMENTS)):
        (conf / f"{name}.toml").write_text(text)
    base = (conf / "base.toml").read_text()
    counters = next(line for line in base.splitlines() if line.startswith("counters = "))
    (conf / "base.toml").write_text(base.replace(counters, 'counters = ["nudge"]'))
    (conf / "local.toml").write_text(f'[releases]\nstore = "{tmp_path / "store"}"\n[holdout]\nshare = 0.05\n')
    return tmp_path


def wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is said of conf/, without what is alike in all lines."""
    assert main(["rules", "check"], {}, root) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("trimtab: conf/") for line in lines)
    return [line.removeprefix("trimtab: conf/").partition("; got ")[0] for line in lines]


def test_what_may_speak_for_each_slot_is_told_in_the_order_in_which_it_counts(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rules", "check"], {}, root) == 0
    assert capsys.readouterr().out == TOLD


def test_all_that_is_wrong_is_told_with_its_line_and_the_nearest_name(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = RULES.replace("sessions <= 1", "sesions <= 1").replace(
        '["help"]\n\n[rules.rescue]', '["hlp"]\n\n[rules.rescue]'
    )
    (root / "conf" / "rules.toml").write_text(rules.replace("cart_items > 0", "cart_items > 0 and hours > 8"))
    (root / "conf" / "slots.toml").write_text(SLOTS.replace("rate_fast > 3", "rate_fst > 3"))
    (root / "conf" / "experiments.toml").write_text(EXPERIMENTS.replace('["story"]', '["stori"]'))
    assert wrong(root, capsys) == [
        "slots.toml:22: slots.nudge.guards.quiet_when: column 1: unknown name rate_fst; did you mean rate_fast?",
        "rules.toml:7: rules.welcome.cases.new.when: column 1: unknown name sesions; did you mean sessions?",
        'rules.toml:20: rules.welcome.else.arms: there is no arm "hlp"; did you mean help?',
        "rules.toml:25: rules.rescue.cases.cart.when: column 20: unknown name hours; did you mean hour?",
        'experiments.toml:7: experiments.pace.arms.fixed.arms: there is no arm "stori"; did you mean story?',
    ]


def test_what_has_no_form_is_told_first_and_all_of_it_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = RULES.replace('impact = "high"', 'impact = "huge"').replace(
        'then = { arms = ["tip", "help"] }', "than = {}"
    )
    (root / "conf" / "rules.toml").write_text(rules)
    (root / "conf" / "experiments.toml").write_text(EXPERIMENTS.replace("share = 1.0", "share = 100"))
    assert wrong(root, capsys) == [
        'rules.toml:12: rules.welcome.cases.new.impact: expected one of low, medium, high, got "huge"',
        "rules.toml:17: rules.welcome.cases.lost.than: unknown key; did you mean rules.welcome.cases.lost.then?",
        "rules.toml:15: rules.welcome.cases.lost.then: missing; expected a table",
        "experiments.toml:5: experiments.pace.ramp.2.share: expected a number >= 0 and <= 1, got 100",
    ]


def test_what_conf_says_is_published_once_and_read_back(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "publish", "--reason", "the first", "--effective-at", "1767225600000"], {}, root) == 0
    assert capsys.readouterr().out == "published r1, in force from 2026-01-01T00:00:00+00:00 on\n"
    settings = load(root, "local", {}, []).settings
    store = Store(settings.releases.store)
    (release,) = store.index("rules")
    assert (release.effective_at, release.reason) == (1767225600000, "the first")
    assert Book.parse("r1", store.read(release)).book == authored(settings)

    assert main(["rules", "publish"], {}, root) == 2
    assert capsys.readouterr().err == "trimtab: rules: r1, the newest release, says the same: nothing would change\n"

    (root / "conf" / "rules.toml").write_text(RULES.replace("priority = 20", "priority = 5"))
    assert main(["rules", "publish", "--effective-at", "1767225600001"], {}, root) == 0
    assert capsys.readouterr().out.startswith("published r2, ")


def test_a_rule_that_nobody_wrote_cannot_be_previewed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "preview", "--rule", "short", "welcom"], {}, root) == 2
    assert capsys.readouterr().err == 'trimtab: rules: there is no rule "welcom"; did you mean welcome?\n'
    assert main(["rules", "preview", "--rule", "x"], {}, root) == 2
    assert capsys.readouterr().err == (
        'trimtab: rules: there is no rule "x"; there are: welcome, rescue, short, sport\n'
    )
