"""conf/compose.yml, by the schema of the Compose Specification, and where it agrees with what it brings up."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.cli import main
from router.config import load
from tests.alerting.prometheus import EXEMPLARS, JOB

Tree = dict[str, Any]


@pytest.fixture
def compose(root: Path) -> Tree:
    """The file, read."""
    tree: Tree = yaml.safe_load((root / "conf" / "compose.yml").read_text())
    return tree


def mounts(compose: Tree) -> Iterator[tuple[str, str, str]]:
    """Yield (service, source, place) of every mount."""
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source, place = volume.split(":")[:2]
            yield name, source, place


def faults(file: Path) -> str:
    """Return what the schema, which `check-jsonschema` brings along, says against a file; "" where nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_it_fits_the_compose_specification(root: Path, tmp_path: Path) -> None:
    assert faults(root / "conf" / "compose.yml") == ""
    wrong = tmp_path / "compose.yml"
    wrong.write_text((root / "conf" / "compose.yml").read_text().replace("services:", "servcies:"))
    assert "servcies" in faults(wrong)


def test_it_has_router_two_backends_prometheus_and_grafana_for_this_machine_alone(compose: Tree) -> None:
    assert set(compose["services"]) == {"router", "backend-1", "backend-2", "prometheus", "grafana"}
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_all_that_is_mounted_or_built_from_exists(root: Path, compose: Tree) -> None:
    for name, source, _ in mounts(compose):
        assert source in compose["volumes"] or (root / "conf" / source).exists(), (name, source)
    build = compose["services"]["router"]["build"]
    assert (root / "conf" / build["context"]).resolve() == root
    assert (root / build["dockerfile"]).is_file()
    lines = (root / build["dockerfile"]).read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    allowed = (root / f"{build['dockerfile']}.dockerignore").read_text().splitlines()
    for source in (each for line in copied for each in line):
        assert (root / source).exists(), source
        assert f"!{source}" in allowed, f"{source} does not get into the build"


def test_the_image_and_its_services_start_commands_that_exist(
    root: Path, compose: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    dockerfile = (root / "conf" / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["devstral-router"]' in dockerfile
    command = compose["services"]["backend-1"]["command"]
    assert main([*command, "--help"]) == 0
    told = capsys.readouterr().out
    assert all(each in told for each in command if each.startswith("--"))


def test_its_router_has_its_backends(root: Path, compose: Tree) -> None:
    (place,) = [source for name, source, _ in mounts(compose) if name == "router"]
    config = load(root / "conf" / place, environ={}).config

    hosts = {backend.url.removeprefix("http://") for backend in config.backends}
    assert hosts == {f"{name}:8000" for name in compose["services"] if name.startswith("backend")}
    assert compose["services"]["router"]["ports"] == [f"127.0.0.1:9000:{config.server.port}"]


def test_its_prometheus_differs_from_the_shipped_one_in_the_target_alone(root: Path) -> None:
    ours, shipped = (yaml.safe_load((root / "conf" / each).read_text()) for each in
                     ("compose/prometheus.yml", "prometheus.yml"))  # fmt: skip

    assert ours["scrape_configs"][0].pop("static_configs") == [{"targets": ["router:9000"]}]
    assert shipped["scrape_configs"][0].pop("static_configs") == [{"targets": ["localhost:9000"]}]
    assert ours == shipped
    assert ours["scrape_configs"][0]["job_name"] == JOB


def test_its_prometheus_keeps_exemplars_as_that_of_the_alerts_does(compose: Tree) -> None:
    assert EXEMPLARS in compose["services"]["prometheus"]["command"]


def test_grafana_finds_source_and_dashboard_where_they_are_mounted(root: Path, compose: Tree) -> None:
    places = {place: source for name, source, place in mounts(compose) if name == "grafana"}
    folder = root / "conf" / places["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "devstral-router.yml").read_text())["providers"]

    assert source["url"].removeprefix("http://").split(":")[0] in compose["services"]
    dashboards = root / "conf" / places[provider["options"]["path"]]
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (dashboards / Path(home).name).is_file()
