"""What an operator types, and what comes back."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jobs.__main__ import VERBS, main

ROOT = Path(__file__).parents[2]
KEY = {"TRIMTAB__PSEUDONYMS__KEY": "for-tests-only"}


def test_without_a_verb_the_verbs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}, ROOT) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed for verb in VERBS)


def test_config_prints_the_settings_and_is_content(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--env", "local", "--set", "time.slice=2s", "config"], {}, ROOT) == 0
    assert 'time.slice = "2s" # --set' in " ".join(capsys.readouterr().out.split())


def test_the_environment_may_come_from_a_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"], {"TRIMTAB_ENV": "nowhere"}, ROOT) == 2
    assert capsys.readouterr().err.startswith(
        'trimtab: conf/nowhere.toml: there is no environment "nowhere"; there are: '
    )


def test_what_is_refused_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--set", "decide.refrsh=5s", "config"], {}, ROOT) == 2
    assert capsys.readouterr().err == "trimtab: --set: decide.refrsh: unknown key; did you mean decide.refresh?\n"


def test_a_verb_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topcis"], {}, ROOT) == 2
    assert capsys.readouterr().err.startswith('trimtab: there is no verb "topcis"; there are: topics, pulse, ')


def test_what_follows_the_verb_is_the_verbs_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--env", "x"], {}, ROOT) == 2
    assert capsys.readouterr().err == 'trimtab: config takes no arguments, got "--env x"\n'


def test_a_verb_may_have_verbs_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"releases.store={tmp_path / 'store'}"
    assert main(["--set", store, "release", "list", "--channel", "model"], {}, ROOT) == 0
    assert capsys.readouterr().out == "nothing was published yet\n"
    assert main(["--set", store, "release", "rollback", "model", "--reason", "it scores too high"], {}, ROOT) == 2
    assert capsys.readouterr().err == ("trimtab: model: there is nothing to go back to: nothing was published yet\n")


def test_who_has_read_enough_of_it_may_go() -> None:
    command = [sys.executable, "-m", "jobs", "config"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_what_breaks_off_elsewhere_is_no_reader_that_went(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise BrokenPipeError("of a socket")

    with Path("/dev/null").open("w") as output:
        monkeypatch.setattr("sys.stdout", output)
        monkeypatch.setattr("jobs.__main__._run", broken)
        with pytest.raises(BrokenPipeError, match="of a socket"):
            main(["config"], {}, ROOT)


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.config.main", interrupted)
    assert main(["config"], {}, ROOT) == 130


def test_it_runs_from_an_archive_in_an_empty_folder(tmp_path: Path) -> None:
    archive, elsewhere = tmp_path / "app.zip", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for folder, pattern in (("jobs", "**/*.py"), ("schemas", "*.py"), ("conf", "*.toml")):
            for member in (ROOT / folder).glob(pattern):
                file.write(member, member.relative_to(ROOT))
    script = "import runpy, jobs; print(jobs.__file__); runpy.run_module('jobs', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script, "--env", "local", "config"],
        cwd=elsewhere,
        env=os.environ | KEY | {"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{archive}/jobs/__init__.py\n")
    assert "conf/local.toml" in done.stdout
