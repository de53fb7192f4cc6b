"""The files of docker/: whole, consistent with the program, and taken by the tools that read them.

No Docker engine is needed. What only one can tell is not tested here: that the images exist, and start.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from service.cli.exporter import Workspaces
from service.cli.main import COMMANDS, load
from service.metrics import Metrics, Workers
from service.settings import Settings
from tenancy.pool import Pool
from tenancy.session import Gateway

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"
OVERLAYS = {
    "single": [],
    "pgbouncer": ["compose.pgbouncer.yaml"],
    "citus": ["compose.citus.yaml"],
    "monitoring": ["compose.monitoring.yaml"],
    "all": ["compose.pgbouncer.yaml", "compose.citus.yaml", "compose.monitoring.yaml"],
}
every_overlay = pytest.mark.parametrize("overlays", OVERLAYS.values(), ids=OVERLAYS)


def interpolated(text):
    """As Compose reads it where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def merged(below, above):
    """As Compose lays one file over another: maps by key, lists one after the other, commands anew."""
    if isinstance(below, dict) and isinstance(above, dict):
        both = below | above
        for key in below.keys() & above.keys():
            both[key] = above[key] if key in {"command", "entrypoint", "test"} else merged(below[key], above[key])
        return both
    if isinstance(below, list) and isinstance(above, list):
        return below + [item for item in above if item not in below]
    return above


def composed(overlays):
    document = {}
    for name in ("compose.yaml", *overlays):
        document = merged(document, yaml.safe_load(interpolated((DOCKER / name).read_text())))
    return {key: value for key, value in document.items() if not key.startswith("x-")}


def ours(document):
    """The services that run our image."""
    return {name: one for name, one in document["services"].items() if one["image"] == "testorchestrator"}


@every_overlay
def test_compose_files_are_of_the_specification(overlays):
    PyCompose.from_yaml(yaml.safe_dump(composed(overlays))).validate()


def test_a_wrong_key_is_found():
    document = composed([])
    document["services"]["proxy"]["depend_on"] = {}
    with pytest.raises(ValueError, match="depend_on"):
        PyCompose.from_yaml(yaml.safe_dump(document)).validate()


@every_overlay
def test_what_a_service_refers_to_is_there(overlays):
    document = composed(overlays)
    services = document["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= set(services), name
        assert set(service.get("secrets", [])) <= set(document["secrets"]), name
        assert set(service.get("networks", [])) <= set(document["networks"]), name
        for other, how in dict.items(service["depends_on"]) if isinstance(service.get("depends_on"), dict) else ():
            if how["condition"] == "service_healthy":
                checked = services[other].get("healthcheck", {}).get("test") or other in ours(document)
                assert checked, f"{name} waits for {other}, which has no health check"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (DOCKER / source).is_file() if source.startswith(".") else source in document["volumes"]
            assert there, f"{name}: {source}"


@every_overlay
def test_secrets_are_those_that_make_secrets_makes(overlays, tmp_path):
    shutil.copy(DOCKER / "make-secrets", tmp_path)
    for _ in range(2):
        subprocess.run([tmp_path / "make-secrets"], check=True)  # noqa: S603 - our own script
    made = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    named = {Path(secret["file"]).name for secret in composed(overlays)["secrets"].values()}
    assert named <= set(made)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert made["service_password"].read_text() in made["service_database_url"].read_text()
    assert made["postgres_password"].read_text() in made["database_url"].read_text()
    assert made["service_password"].read_text() != made["postgres_password"].read_text()
    subprocess.run(["git", "check-ignore", "--quiet", "docker/secrets/database_url"], cwd=ROOT, check=True)  # noqa: S607


@every_overlay
def test_settings_are_those_of_the_program(overlays):
    known = {f"TESTORCHESTRATOR_{name}".upper() for name in Settings.model_fields}
    known |= {"DATABASE_URL", "SERVICE_DATABASE_URL"}
    document = composed(overlays)
    for name, service in ours(document).items():
        environment = service["environment"]
        assert {variable.removesuffix("_FILE") for variable in environment} <= known, name
        for variable, path in environment.items():
            if variable.endswith("_FILE"):
                assert Path(path).name in service["secrets"], f"{name}: {variable}"
        given = {
            variable.removeprefix("TESTORCHESTRATOR_").lower(): value
            for variable, value in environment.items()
            if variable.startswith("TESTORCHESTRATOR_") and not variable.endswith("_FILE")
        }
        Settings(SERVICE_DATABASE_URL="postgresql://x", **given)


@every_overlay
def test_our_containers_are_confined_and_have_time_to_stop(overlays):
    document = composed(overlays)
    for service in ours(document).values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "ports" not in service
    settings = document["services"]["service-1"]["environment"]
    needed = sum(int(settings[f"TESTORCHESTRATOR_{name}_SECONDS"]) for name in ("DRAIN", "SHUTDOWN"))
    assert int(document["services"]["service-1"]["stop_grace_period"].removesuffix("s")) > needed
    assert document["networks"]["back"]["internal"]
    assert all(port.startswith("127.0.0.1:") for name in document["services"] for port in
               document["services"][name].get("ports", []) if name != "proxy")  # fmt: skip


@every_overlay
def test_commands_are_those_of_the_program(overlays):
    commands = {name: one.get("command") for name, one in ours(composed(overlays)).items()}
    commands["the image"] = json.loads(re.search(r"^CMD (\[.*\])$", dockerfile(), re.MULTILINE)[1])
    for name, words in commands.items():
        if words is not None:
            assert words[0] in COMMANDS, name
            load(words[0]).make_context(words[0], list(words[1:]))


def dockerfile():
    return (DOCKER / "Dockerfile").read_text()


def test_what_the_image_copies_is_there_and_not_ignored():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile(), re.MULTILINE)
        for source in shlex.split(line)[:-1]
    }
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_the_dockerfile_has_no_fault_that_a_linter_knows():
    done = subprocess.run(  # noqa: S603 - of our own environment
        [Path(sys.executable).parent / "hadolint", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_health_check_of_the_image_is_a_module_of_ours():
    command = json.loads(re.search(r"CMD (\[.*healthcheck.*\])", dockerfile())[1])
    environment = os.environ | {"TESTORCHESTRATOR_PORT": "1"}
    done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (1, b"")


def test_every_dependency_is_pinned_to_a_version_that_it_may_have():
    pins = dict(
        line.split("==") for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    pins = {canonicalize_name(name): Version(version) for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"]:
        needed = Requirement(line)
        pin = pins.get(canonicalize_name(needed.name))
        assert pin is not None, f"{needed.name} is not in docker/constraints.txt: run docker/make-constraints"
        assert pin in needed.specifier, f"{needed}: run docker/make-constraints"


def test_the_wheel_that_the_image_installs_runs(tmp_path):
    """With everything in it that the program reads: queries, revisions, the demo's content."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", tmp_path]
    subprocess.run([*build, ROOT], check=True, capture_output=True)  # noqa: S603
    (wheel,) = tmp_path.glob("*.whl")
    alone = tmp_path / "alone"
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--target", alone, wheel], check=True, capture_output=True)  # noqa: S603
    program = (
        "import service, service.app, service.demo.load, migrations.trees as trees\n"
        "from service.cli.main import COMMANDS, load\n"
        "assert service.__file__.startswith(sys.argv[1]), service.__file__\n"
        "[trees.head(tree) for tree in trees.Tree]; [load(name) for name in COMMANDS]"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, sys.argv[1])\n{program}", alone],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    packed = {path.relative_to(alone) for path in alone.rglob("*") if path.suffix in {".sql", ".yaml"}}
    here = {
        path.relative_to(ROOT)
        for folder in ("service", "tenancy", "migrations")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".sql", ".yaml"}
    }
    assert packed == here


@pytest.fixture(scope="module")
def told():
    """The names of all samples that the service and the exporter give."""
    metrics = Metrics(version="1", schema_version="1")
    pool = Pool("postgresql://nobody@127.0.0.1:1/x")
    metrics.watch(Gateway(pool), {"service": pool})
    metrics._request("ping", "none", "ok")
    metrics._seconds("ping", "none")
    metrics.registry.register(Workspaces("postgresql://nobody@127.0.0.1:1/x"))
    metrics.registry.register(Workers([1]))
    families = metrics.registry.collect()
    names = {sample.name for family in families for sample in family.samples}
    # What nothing has happened to has no sample yet.
    return names | {"up", "testorchestrator_workspaces"}


def named(expression):
    without_labels = re.sub(r"\{[^}]*\}", "", expression)
    return set(re.findall(r"\b(?:testorchestrator_\w+|process_\w+|python_\w+|up)\b", without_labels))


def test_every_metric_of_the_alerts_is_told(told):
    rules = yaml.safe_load((DOCKER / "monitoring" / "alerts.yml").read_text())["groups"][0]["rules"]
    assert rules
    for rule in rules:
        assert named(rule["expr"]), rule["alert"]
        assert named(rule["expr"]) <= told, rule["alert"]


def test_every_metric_of_the_dashboard_is_told(told):
    dashboard = json.loads((DOCKER / "monitoring" / "grafana" / "testorchestrator.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [one["query"] for one in dashboard["templating"]["list"]]
    assert len(expressions) > 10
    for expression in expressions:
        assert named(expression), expression
        assert named(expression) <= told, expression


def test_every_alert_is_explained_in_the_guide():
    guide = (ROOT / "docs" / "operations.md").read_text()
    rules = yaml.safe_load((DOCKER / "monitoring" / "alerts.yml").read_text())["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules if f"`{rule['alert']}`" not in guide] == []


def program_of(name):
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_prometheus_takes_its_configuration():
    done = subprocess.run(  # noqa: S603
        [program_of("promtool"), "check", "config", DOCKER / "monitoring" / "prometheus.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@every_overlay
def test_the_compose_client_takes_the_files(overlays, tmp_path):
    client = [program_of("docker"), "compose"]
    if subprocess.run([*client, "version"], capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("this docker has no compose plugin")
    shutil.copytree(DOCKER, tmp_path / "docker")
    subprocess.run([tmp_path / "docker" / "make-secrets"], check=True)  # noqa: S603 - our own script
    files = [part for name in ("compose.yaml", *overlays) for part in ("-f", tmp_path / "docker" / name)]
    done = subprocess.run([*client, *files, "config", "--quiet"], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr


def test_scripts_are_of_any_shell():
    for script in ("make-secrets", "make-constraints", "citus/register-workers"):
        done = subprocess.run(["/bin/sh", "-n", DOCKER / script], capture_output=True, text=True, check=False)  # noqa: S603
        assert (done.returncode, done.stderr) == (0, "")
