"""The archive that a cluster takes: what it holds, that it stands alone, and what is refused before it is sent."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # Beam brings it, and it brings no types

from jobs.__main__ import main
from jobs.package import SOURCE, archive
from jobs.submit import savepoint
from jobs.wiring import Refusal
from jobs.wiring.cluster import Cluster, Unreachable, furnish
from schemas.settings import Settings

ALONE = """
import importlib, sys
from importlib.resources import files
from pathlib import Path
# A checkout installed in place would lend what the archive lacks.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
root = Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    assert Path(module.__file__).is_relative_to(root), module.__file__
print(files("jobs").joinpath("personalize.sql").read_text().count("CREATE TEMPORARY VIEW"))
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("build") / "app.zip"
    archive(SOURCE, target)
    return target


def test_the_same_files_give_the_same_bytes_at_another_time_and_place(app: Path, tmp_path: Path) -> None:
    for folder in ("jobs", "udfs", "schemas", "conf"):
        shutil.copytree(SOURCE / folder, tmp_path / "copy" / folder, copy_function=shutil.copyfile)
    archive(tmp_path / "copy", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == app.read_bytes()


def test_it_holds_code_views_and_settings_and_nothing_else(app: Path) -> None:
    names = zipfile.ZipFile(app).namelist()
    assert {"jobs/__main__.py", "jobs/personalize.sql", "udfs/cleaning/clean.py", "schemas/events.py"} < set(names)
    assert {"conf/base.toml", "conf/topics.toml", "conf/local.toml"} < set(names)
    assert {name.split("/")[0] for name in names} == {"jobs", "udfs", "schemas", "conf"}
    assert not [name for name in names if "__pycache__" in name or "/." in name or name.endswith(".yaml")]


def test_every_module_and_the_views_come_from_the_archive_alone(app: Path, tmp_path: Path) -> None:
    unpacked, elsewhere = tmp_path / "app", tmp_path / "elsewhere"  # Flink unpacks it too, for client and workers
    zipfile.ZipFile(app).extractall(unpacked)
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(unpacked)],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10


def test_flinks_configuration_says_each_thing_once(tmp_path: Path) -> None:
    jar = tmp_path / "connector.jar"
    jar.touch()
    furnish(tmp_path / "flink", {"rest.port": "8081", "io.tmp.dirs": "/a: b"}, [jar])
    lines = (tmp_path / "flink/conf/config.yaml").read_text().splitlines()
    keys = [line.split(":")[0] for line in lines if line and not line.startswith("#")]
    assert len(keys) == len(set(keys))
    assert keys[-2:] == ["rest.port", "io.tmp.dirs"]
    assert lines[-1] == 'io.tmp.dirs: "/a: b"'
    assert (tmp_path / "flink/lib/connector.jar").resolve() == jar
    assert [path.name for path in (tmp_path / "flink/lib").glob("flink-dist*")] == ["flink-dist-2.3.0.jar"]


def test_kubernetes_repeats_what_every_cluster_has_in_common() -> None:
    common: dict[str, Any] = yaml.safe_load((SOURCE / "conf/flink/config.yaml").read_text())
    manifests = yaml.safe_load_all((SOURCE / "docker/kubernetes/flinkdeployment.yaml").read_text())
    spec = next(manifest["spec"] for manifest in manifests if manifest["kind"] == "FlinkDeployment")
    own = spec["flinkConfiguration"]
    own["jobmanager.memory.process.size"] = spec["jobManager"]["resource"]["memory"]
    own["taskmanager.memory.process.size"] = spec["taskManager"]["resource"]["memory"]
    del common["env.java.default-opts.all"]  # the operator's own
    assert {key: own.get(key) for key in common} == {key: str(value) for key, value in common.items()}
    loggers = (SOURCE / "conf/flink/loggers.properties").read_text().splitlines()
    quiet = [line for line in loggers if line.startswith("logger.")]
    assert len(quiet) == 4
    assert set(quiet) < set(spec["logConfiguration"]["log4j-console.properties"].splitlines())


def test_containers_have_the_memory_that_flink_is_told() -> None:
    common = yaml.safe_load((SOURCE / "conf/flink/config.yaml").read_text())
    services = yaml.safe_load((SOURCE / "docker/compose.yaml").read_text())["services"]
    for name in ("jobmanager", "taskmanager"):
        for job in ("", "learn-"):
            assert services[f"{job}{name}"]["mem_limit"] == common[f"{name}.memory.process.size"]


def test_what_learns_is_a_profile_of_its_own_beside_what_decides() -> None:
    services = yaml.safe_load((SOURCE / "docker/compose.yaml").read_text())["services"]
    verbs = {name: " ".join(service["command"]) for name, service in services.items() if service.get("profiles")}
    assert {name: said.rpartition("jobs ")[2] for name, said in verbs.items() if "jobs" in said} == {
        "learn-jobmanager": "learn",
        "policy": "policy",
        "train": "train --schedule",
        "drift": "drift --schedule",
    }
    for name in ("learn-jobmanager", "learn-taskmanager"):
        assert services[name]["environment"]["JOB_MANAGER_RPC_ADDRESS"] == "learn-jobmanager"
    assert services["taskmanager"]["environment"]["JOB_MANAGER_RPC_ADDRESS"] == "jobmanager"


def test_a_cluster_of_another_job_is_the_same_but_for_its_name() -> None:
    text = (SOURCE / "docker/kubernetes/flinkdeployment.yaml").read_text().replace("personalize", "learn")
    jobs = [each for each in yaml.safe_load_all(text) if each["kind"] == "FlinkDeployment"]
    assert [(each["metadata"]["name"], each["spec"]["job"]["args"][-1]) for each in jobs] == [
        ("trimtab-learn", "learn")
    ]


def test_what_publishes_what_was_learned_runs_once_and_from_the_same_image() -> None:
    found = list(yaml.safe_load_all((SOURCE / "docker/kubernetes/learners.yaml").read_text()))
    containers = [each["spec"]["template"]["spec"]["containers"][0] for each in found]
    said = [" ".join(each["command"][3:]) for each in containers]
    assert said == ["policy", "train --schedule", "drift --schedule"]
    assert {each["image"] for each in containers} == {"trimtab:0.1.0"}
    assert [(each["spec"]["replicas"], each["spec"]["strategy"]["type"]) for each in found] == [(1, "Recreate")] * 3


def test_every_published_port_is_bound_to_this_machine() -> None:
    services = yaml.safe_load((SOURCE / "docker/compose.yaml").read_text())["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_flink_without_connectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"no connector in \.local/jars/flink: run make setup"):
        furnish(tmp_path / "flink", {}, [])


def test_what_chose_the_settings_is_handed_on_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    def submit(_: Settings, arguments: list[str]) -> int:
        heard.extend(arguments)
        return 0

    monkeypatch.setattr("jobs.submit.main", submit)
    environ = {"TRIMTAB_ENV": "local"}
    main(["--env", "production", "--set", "decide.refresh=10s", "submit", "personalize"], environ, SOURCE)
    assert heard == ["personalize"]
    assert environ == {"TRIMTAB_ENV": "production", "TRIMTAB__DECIDE__REFRESH": "10s"}


def test_without_an_archive_nothing_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["submit", "personalize"], {}, SOURCE) == 2
    assert capsys.readouterr().err == "trimtab: submit: there is no build/app.zip: run python -m jobs package\n"


def test_without_a_cluster_nothing_is_submitted(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build").mkdir()
    shutil.copy(app, tmp_path / "build/app.zip")
    monkeypatch.chdir(tmp_path)
    assert main(["submit", "personalize"], {}, SOURCE) == 2
    assert capsys.readouterr().err.startswith("trimtab: no cluster runs here: run python -m jobs cluster")
    assert main(["stop", "--savepoint"], {}, SOURCE) == 2
    assert main(["stop"], {}, SOURCE) == 0
    assert capsys.readouterr().out == "nothing was running\n"


def test_a_folder_without_metadata_is_no_savepoint(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is no savepoint: it has no _metadata"):
        savepoint(str(tmp_path))
    (tmp_path / "_metadata").touch()
    assert savepoint(str(tmp_path)) == savepoint(f"file:{tmp_path}") == f"file://{tmp_path}"
    assert savepoint("s3://bucket/savepoint-1") == "s3://bucket/savepoint-1"


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with pytest.raises(Unreachable, match=r"no Flink cluster answers at 127\.0\.0\.1:1 "):
        Cluster("127.0.0.1:1").slots()
