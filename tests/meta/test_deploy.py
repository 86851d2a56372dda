"""What deploy/ has for containers fits the daemons: each flag is parsed as they parse it, ports and
probes are theirs, and no secret stands in the clear.

The chart is rendered where there is helm (``make deploy-test`` installs one), and its manifests are
checked against the schemas of Kubernetes where there is ``kubernetes-validate``. Without helm the
flags, ports and values that the templates name are compared with the code. No image is built here.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from source_tree import ROOT

from common.config import keys_of
from coordinator.config import CoordinatorConfig
from coordinator.journal.recovery_file import RECOVERY_NAME
from gateway_s3.config import GatewayConfig

DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm" / "alveary"
CONFIGS: Final = {"coordinator": CoordinatorConfig, "gateway": GatewayConfig}
COMPOSE: Final = sorted(DEPLOY.glob("compose-*.yml"))
TOOLS: Final = Path(os.environ.get("ALVEARY_DEPLOY_TOOLS", str(ROOT / ".deploy"))) / "bin"
KUBERNETES: Final = "--kube-version=1.31.0"
ID: Final = "ab" * 32
VARIABLES: Final = {
    "ALVEARY_HOST": "alveary.example.org",
    "ALVEARY_COORDINATOR_ID": ID,
    "ALVEARY_STANDBY": "true",
}
TRUTH: Final = {"true": True, "false": False}
VARIANTS: Final = {
    "defaults": (),
    "journal": ("coordinators.store=journal", "coordinators.count=3"),
    "one": ("coordinators.count=1", "gateways.count=1"),
    "tls": ("gateways.tlsSecret=s3-tls", "gateways.serviceType=LoadBalancer"),
    "outside": (
        "coordinators.advertise={a.example.org:7400,b.example.org:7400}",
        "coordinators.serviceType=LoadBalancer",
        "coordinators.settings.lost-after-s=14400",
        "coordinators.volume.storageClassName=fast",
    ),
}


def tool(name: str) -> str | None:
    return shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")


def filled(text: str) -> str:
    """What compose makes of the variables in a text."""

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[3] if found[2] == ":-" else ""
        return VARIABLES.get(name, default)

    return re.sub(r"\$\{(\w+)(:-|:\?)?([^}]*)\}", value, text)


def configured(command: Sequence[str]) -> CoordinatorConfig | GatewayConfig:
    """The configuration that a command line gives a daemon; it is checked as by the daemon."""
    role, *flags = command
    table: dict[str, Any] = {}
    kind = CONFIGS[role]
    for flag in flags:
        name, _, text = flag.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        assert flag.startswith("--"), flag
        assert key in keys_of(kind), f"{role} has no flag --{name}"
        value: Any = int(text) if text.isdigit() and key != "coordinator_id" else text
        value = TRUTH.get(text, value)
        if key == "coordinator":
            value = [*table.get(key, []), text]
        table[key] = value
    return kind.parse(table)


def ports_of(config: CoordinatorConfig | GatewayConfig) -> dict[str, int]:
    assert config.http is not None
    if isinstance(config, CoordinatorConfig):
        return {"native": config.listen.port, "http": config.http.port}
    return {"s3": config.s3.port, "http": config.http.port}


def services(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in yaml.safe_load(filled(path.read_text()))["services"].items():
        if "alveary" in service["image"]:
            yield name, service


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_starts_daemons_as_they_want_it(path: Path) -> None:
    document = yaml.safe_load(filled(path.read_text()))
    found = dict(services(path))
    assert found
    for service in found.values():
        config = configured(service["command"])
        ports = ports_of(config)
        assert service["environment"] == {"ALVEARY_HEALTH_PORT": str(ports["http"])}
        inside = {int(each.rpartition(":")[2]) for each in service["ports"]}
        assert inside == set(ports.values())
        assert all(
            each.startswith("127.0.0.1:")
            for each in service["ports"]
            if each.endswith(f":{ports['http']}")
        ), "health and the operators' API are for this machine"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert config.data == "/var/lib/alveary"
        assert any(each.endswith(":/var/lib/alveary") for each in service["volumes"])
        assert set(service.get("secrets", ())) <= set(document.get("secrets", {}))
    others = document["services"].keys() - found.keys()
    for each in (document["services"][name] for name in others):
        assert not [
            name
            for name in each["environment"]
            if "PASSWORD" in name and not name.endswith("_FILE")
        ]
    for file in document.get("secrets", {}).values():
        assert file["file"].startswith("./secrets/")


def test_compose_shares_a_store_and_names_all_coordinators_to_the_gateway() -> None:
    found = dict(services(DEPLOY / "compose-postgresql.yml"))
    configs = {name: configured(service["command"]) for name, service in found.items()}
    stores = {each.store for each in configs.values() if isinstance(each, CoordinatorConfig)}
    assert len(stores) == 1
    assert "@" in stores.pop().partition("//")[2], "a user, and no password"
    gateway = configs.pop("gateway")
    assert isinstance(gateway, GatewayConfig)
    assert {str(each) for each in gateway.coordinator} == {f"{name}:7400" for name in configs}


def test_the_image_has_what_the_command_needs_and_runs_without_rights() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    packages = {
        path.parent.name
        for path in ROOT.glob("*/__init__.py")
        if path.parent.name not in {"sim", "bench", "tests"}
    }
    assert packages | {"requirements"} == copied
    for file in re.findall(r"requirements/\w+\.txt", text):
        assert (ROOT / file).exists()
    last = text.rpartition("\nFROM ")[2]
    assert "\nUSER 7400:7400\n" in last
    (exposed,) = re.findall(r"^EXPOSE (.*)$", last, re.MULTILINE)
    used = {
        port
        for path in COMPOSE
        for _, service in services(path)
        for port in ports_of(configured(service["command"])).values()
    }
    assert {int(each) for each in exposed.split()} == used
    assert "/healthz" in last
    assert (DEPLOY / "start.sh").stat().st_mode & stat.S_IXUSR


def test_a_container_finds_its_secrets_where_the_daemons_look(tmp_path: Path) -> None:
    secrets, data, tmp, bin_ = (tmp_path / name for name in ("secrets", "data", "tmp", "bin"))
    for folder in (secrets / "tenants" / "..data", data, tmp, bin_):
        folder.mkdir(parents=True)
    for name in (RECOVERY_NAME, "pgpass"):
        (secrets / name).write_text(name)
    (secrets / "tenants" / "..data" / "acme.json").write_text("key")
    (secrets / "tenants" / "acme.json").symlink_to("..data/acme.json")
    (bin_ / "alveary").write_text('#!/bin/sh\necho "$PGPASSFILE" "$@"\n')
    (bin_ / "alveary").chmod(0o755)
    script = (DEPLOY / "start.sh").read_text()
    for place, here in (("/tmp/", tmp), ("/run/secrets/", secrets), ("/var/lib/alveary", data)):
        script = script.replace(place, f"{here}{'/' * place.endswith('/')}")

    def start() -> str:
        return subprocess.run(
            ["sh", "-c", script, "alveary-start", "coordinator", "--standby=true"],
            env={"PATH": f"{bin_}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert start() == f"{tmp}/pgpass coordinator --standby=true\n"
    recovery = data / RECOVERY_NAME
    assert recovery.read_text() == RECOVERY_NAME
    assert stat.S_IMODE(recovery.stat().st_mode) == 0o600
    recovery.write_text("as it is now")
    start()
    assert recovery.read_text() == "as it is now", "what is there stays"
    tenant = tmp / "tenants" / "acme.json"
    assert tenant.read_text() == "key"
    assert not tenant.is_symlink()
    for file in (tmp / "pgpass", tenant):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_two_coordinators_have_one_key() -> None:
    """Each but the first one has what it was added with; no key is given to several."""
    found = dict(services(DEPLOY / "compose-postgresql.yml"))
    given = {name: set(service.get("secrets", ())) - {"pgpass"} for name, service in found.items()}
    assert given["coordinator-1"] == set()
    assert given["coordinator-2"] == {RECOVERY_NAME}
    text = (CHART / "templates" / "coordinators.yaml").read_text()
    keys = set(re.findall(r"items: \[\{key: ([^,]+), path: ([^}]+)\}\]", text))
    assert keys == {("pgpass", "pgpass"), ("coordinator-{{ $number }}.json", RECOVERY_NAME)}


# --- the chart ---------------------------------------------------------------------------------


def test_templates_name_flags_ports_probes_and_values_that_there_are() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for role in CONFIGS:
        text = (CHART / "templates" / f"{role}s.yaml").read_text()
        flags = set(re.findall(r"^\s+- --([a-z0-9-]+)=", text, re.MULTILINE))
        assert len(flags) > 5
        assert {each.replace("-", "_") for each in flags} <= keys_of(CONFIGS[role]).keys()
        for name in re.findall(r"\$with\.(\w+)", text):
            assert name in values[f"{role}s"], f"{role}s.{name} has no default"
        listened = set(re.findall(r"=0\.0\.0\.0:(\d+)", text))
        assert listened == set(re.findall(r"containerPort: (\d+)", text))
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    assert set(re.findall(r"path: (/\w+)", helpers)) == {"/healthz", "/readyz"}
    for text in (
        helpers,
        *(path.read_text() for path in (CHART / "templates").glob("*.yaml")),
    ):
        for section, name in re.findall(r"\.Values\.(\w+)\.(\w+)", text):
            assert name in values[section]


def test_coordinators_are_replaced_by_an_operator_only() -> None:
    text = (CHART / "templates" / "coordinators.yaml").read_text()
    assert "updateStrategy: {type: OnDelete}" in text


def test_no_value_of_the_chart_is_a_secret() -> None:
    text = (CHART / "values.yaml").read_text()
    assert not re.search(r"^\s*\w*(password|token|key)\w*:", text, re.MULTILINE | re.IGNORECASE)
    assert "://alveary@" in text
    for path in (CHART / "templates").iterdir():
        assert "kind: Secret" not in path.read_text()


@pytest.fixture
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The manifests of a variant, in a file."""
    helm = tool("helm")
    if helm is None:
        pytest.skip("helm is not installed (make deploy-test)")
    sets = [f"--set={each}" for each in (f"gateways.coordinatorId={ID}", *VARIANTS[request.param])]
    done = subprocess.run(
        [helm, "template", "swarm", str(CHART), "--namespace=stores", KUBERNETES, *sets],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "manifests.yaml"
    path.write_text(done.stdout)
    return path


def containers(path: Path) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(path.read_text()):
        if document and document["kind"] in {"StatefulSet", "Deployment"}:
            yield from document["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize("rendered", VARIANTS, indirect=True)
def test_the_chart_starts_daemons_as_they_want_it(rendered: Path) -> None:
    found = list(containers(rendered))
    assert {each["name"] for each in found} == {"coordinator", "gateway"}
    for each in found:
        ports = ports_of(configured(each["args"]))
        assert {one["name"]: one["containerPort"] for one in each["ports"]} == ports
        assert each["env"] == [{"name": "ALVEARY_HEALTH_PORT", "value": str(ports["http"])}]
        assert each["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("rendered", VARIANTS, indirect=True)
def test_manifests_are_what_kubernetes_takes(rendered: Path) -> None:
    validate = tool("kubernetes-validate")
    if validate is None:
        pytest.skip("kubernetes-validate is not installed (make deploy-test)")
    done = subprocess.run(
        [validate, "--strict", str(rendered)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_asks_for_the_id_of_coordinators() -> None:
    helm = tool("helm")
    if helm is None:
        pytest.skip("helm is not installed (make deploy-test)")
    done = subprocess.run(
        [helm, "template", str(CHART), KUBERNETES], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "coordinatorId" in done.stderr
