"""One command line for everything: python -m jobs <verb>."""

import argparse
import os
import select
import sys
import zipfile
from collections.abc import MutableMapping, Sequence
from importlib import import_module
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import jobs
from jobs.wiring import Refusal
from jobs.wiring.handover import variables
from jobs.wiring.settings import load, render

VERBS: Final = {
    "topics": ("jobs.topics", "show how the broker's topics differ from conf/topics.toml, and put them right"),
    "pulse": ("jobs.pulse", "keep every partition that jobs read moving, so that no window waits"),
    "release": ("jobs.release", "publish a release of any channel; list, compare, go back"),
    "rules": ("jobs.rules", "check what happens when, try it on what was decided, and publish it"),
    "norms": ("jobs.norms", "count what is normal among all people, and publish it"),
    "segments": ("jobs.segments", "find groups of people who behave alike, and publish them"),
    "anomalies": ("jobs.anomalies", "learn what is easily told from all else, and publish it"),
    "train": ("jobs.train", "fit a model and hold it against its gates"),
    "policy": ("jobs.policy", "publish what was learned of arms, period by period; run one beside the job learn"),
    "scoreboard": ("jobs.scoreboard", "say what other policies would have been worth, by what came of this one"),
    "drift": ("jobs.drift", "say what of what models see and say has drifted, and since when"),
    "heads": ("jobs.heads", "learn what a parameter of content is set by, and publish it"),
    "personalize": ("jobs.personalize", "run the job: clicks in, decisions to Kafka and Redis"),
    "watch": ("jobs.watch", "run the job that watches the site's series: events in, alerts out"),
    "learn": ("jobs.learn", "run the job that learns: what was shown and what came of it in, outcomes out"),
    "run": ("jobs.run", "start everything on this machine: broker, Redis, website, job"),
    "website": ("jobs.local.website", "play the pretend website's visitors"),
    "replay": ("jobs.replay", "decide a topic again and compare"),
    "explain": ("jobs.explain", "say why a person is shown what they are shown, or make a decision again"),
    "erase": ("jobs.erase", "forget people everywhere, or check that they are forgotten"),
    "recover": ("jobs.recover", "feed refused records again after a fix, each once"),
    "package": ("jobs.package", "build the archive that a cluster takes"),
    "cluster": ("jobs.cluster", "start a Flink cluster on this machine"),
    "submit": ("jobs.submit", "hand the archive to a Flink cluster"),
    "stop": ("jobs.stop", "end that cluster, or stop a job with a savepoint"),
    "config": ("jobs.config", "check the settings and print each with its origin"),
}
"""Verb -> the module whose `main(settings, arguments)` does it, and what it does."""

REFUSED: Final = 2
INTERRUPTED: Final = 130
UNHEARD: Final = 141


def main(arguments: Sequence[str], environ: MutableMapping[str, str], folder: Path) -> int:
    """Run one verb and return its exit code: 2 where something outside does not fit, 130 after Ctrl-C.

    Where whoever reads what it prints, `head` say, has seen enough, it ends at once, without a word, with 141.
    """
    try:
        return _run(arguments, environ, folder)
    except Refusal as refusal:
        print("\n".join(f"trimtab: {line}" for line in str(refusal).splitlines()), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if _heard():
            raise
        return UNHEARD


def _heard() -> bool:
    """Whether anybody still reads the standard output; if not, what waits to be printed is thrown away."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not output.poll(0):
        return True
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return False


def root(folder: Path) -> Traversable:
    """Find what holds conf/: this folder, else what holds jobs/, be it a folder or an archive on the path."""
    if (folder / "conf").is_dir():
        return folder
    above = Path(jobs.__path__[0]).parent
    return zipfile.Path(above) if above.is_file() else above


def _run(arguments: Sequence[str], environ: MutableMapping[str, str], folder: Path) -> int:
    asked = _parser().parse_args(arguments)
    if asked.verb is None and not asked.print_config:
        print(_parser().format_help(), end="")
        return 0
    if asked.verb is not None and asked.verb not in VERBS:
        raise Refusal(f'there is no verb "{asked.verb}"; there are: {", ".join(VERBS)}')
    env = asked.env or environ.get("TRIMTAB_ENV") or "local"
    loaded = load(root(folder), env, environ, asked.set)
    # `config` is this flag with its checks: only here are the origins still known.
    if asked.print_config or asked.verb == "config":
        print(render(loaded), flush=True)
    if asked.verb is None:
        return 0
    # Processes that a verb starts read the settings anew, and must find the same.
    environ.update({"TRIMTAB_ENV": env} | variables(dict(each.split("=", 1) for each in asked.set)))
    done: int = import_module(VERBS[asked.verb][0]).main(loaded.settings, asked.arguments)
    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs",
        usage="python -m jobs [--env NAME] [--set a.b=c ...] [--print-config] VERB [arguments]",
        description="\n".join(["verbs:", *(f"  {verb:<12} {about}" for verb, (_, about) in VERBS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--env", metavar="NAME", help="which conf/<NAME>.toml (else TRIMTAB_ENV, else local)")
    parser.add_argument(
        "--set", metavar="a.b=c", action="append", default=[], help="change one setting; may be repeated"
    )
    parser.add_argument("--print-config", action="store_true", help="print the settings first, each with its origin")
    parser.add_argument("verb", nargs="?", metavar="VERB", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], os.environ, Path.cwd()))
