"""The manifests hold together: rendered, of valid fields, and each name leads to what it names."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from trivet.cli import trivet as command_line
from trivet.settings import Settings
from unit.deploy.expressions import ROOT, faults
from unit.deploy.kustomize import Manifest, render

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("local", "production")
VERSIONS = ("1.32", "1.37")
RENDERED = {name: render(KUBERNETES / "overlays" / name) for name in OVERLAYS}

YOURS = {
    ("Secret", "trivet-stores"),
    ("Secret", "trivet-mlflow"),
    ("Secret", "predictions-tls"),
    ("PersistentVolumeClaim", "offline-data"),
    ("PersistentVolumeClaim", "prediction-log"),
}
"""What docs/deployment.md says is for the user to bring."""

each = pytest.mark.parametrize("overlay", OVERLAYS)


def of_kind(overlay: str, kind: str) -> list[Manifest]:
    """Return the objects of one kind."""
    return [one for one in RENDERED[overlay] if one["kind"] == kind]


def cron_job(overlay: str, name: str) -> Manifest:
    """Return the CronJob of a name."""
    (found,) = [one for one in of_kind(overlay, "CronJob") if one["metadata"]["name"] == name]
    return found


def templates(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Yield each workload's name with its pod template."""
    for one in RENDERED[overlay]:
        if one["kind"] == "Deployment":
            yield one["metadata"]["name"], one["spec"]["template"]
        elif one["kind"] == "CronJob":
            yield one["metadata"]["name"], one["spec"]["jobTemplate"]["spec"]["template"]


def containers(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Yield each workload's name with each of its containers."""
    for name, template in templates(overlay):
        for container in template["spec"]["containers"]:
            yield name, container


def parts(value: Any, key: str) -> Iterator[Any]:
    """Yield whatever stands under a key, at any depth."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name == key:
                yield one
            yield from parts(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from parts(one, key)


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Say whether a label selector means something with these labels."""
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"]
        for one in selector.get("matchExpressions", [])
        if one["operator"] == "In"
    )


@pytest.mark.parametrize("version", VERSIONS)
@each
def test_every_object_is_valid(overlay: str, version: str) -> None:
    """By Kubernetes's own schemas, with no field that these do not know."""
    for one in RENDERED[overlay]:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize(
    "way",
    [
        ("spec", "template", "spec", "containers", 0, "readinesProbe"),
        ("spec", "template", "spec", "terminationGracePeriod"),
        ("spec", "template", "spec", "containers", 0, "securityContext", "readOnlyRootFileSystem"),
    ],
)
def test_a_misspelt_field_is_found(way: tuple[str | int, ...]) -> None:
    """Kubernetes would drop it, and the probe with it."""
    wrong: Any = copy.deepcopy(of_kind("production", "Deployment")[0])
    kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)
    part = wrong
    for step in way[:-1]:
        part = part[step]
    part[way[-1]] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@each
def test_an_object_stands_once_and_in_the_namespace(overlay: str) -> None:
    """A second one of a name would replace the first."""
    names = [(one["kind"], one["metadata"]["name"]) for one in RENDERED[overlay]]
    assert len(set(names)) == len(names)
    (namespace,) = of_kind(overlay, "Namespace")
    inside = [one for one in RENDERED[overlay] if one["kind"] != "Namespace"]
    assert {one["metadata"]["namespace"] for one in inside} == {namespace["metadata"]["name"]}


@each
def test_an_image_is_named_with_a_tag(overlay: str) -> None:
    """That of a release, not whatever is the latest; each name of the base is replaced."""
    images = [container["image"] for _, container in containers(overlay)]
    assert all(re.fullmatch(r"[\w./-]+:\d[\w.-]*", image) for image in images), images


@each
def test_selectors_mean_the_pods_that_they_are_for(overlay: str) -> None:
    """Of Deployments, Services, budgets and spread constraints."""
    pods = {name: template["metadata"]["labels"] for name, template in templates(overlay)}
    for one in of_kind(overlay, "Deployment"):
        name = one["metadata"]["name"]
        assert [n for n, labels in pods.items() if selects(one["spec"]["selector"], labels)] == [
            name
        ]
        for spread in one["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert selects(spread["labelSelector"], pods[name])
    for one in of_kind(overlay, "Service"):
        selector = {"matchLabels": one["spec"]["selector"]}
        name = one["metadata"]["name"]
        assert [n for n, labels in pods.items() if selects(selector, labels)] == [name]
    (budget,) = of_kind(overlay, "PodDisruptionBudget")
    assert [n for n, labels in pods.items() if selects(budget["spec"]["selector"], labels)] == [
        "flight-delay"
    ]


@each
def test_ports_are_named_where_they_are_used(overlay: str) -> None:
    """By Services, probes, the Ingress and what is said to Prometheus."""
    specs = dict(templates(overlay))
    ports = {
        name: {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        for name, container in containers(overlay)
    }
    for one in of_kind(overlay, "Service"):
        used = {port["targetPort"] for port in one["spec"]["ports"]}
        assert used <= ports[one["metadata"]["name"]].keys()
    for name, container in containers(overlay):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert set(parts(container.get(probe), "port")) <= ports[name].keys()
        scraped = specs[name]["metadata"].get("annotations", {}).get("prometheus.io/port")
        assert scraped is None or int(scraped) in ports[name].values()
    services = {one["metadata"]["name"]: one for one in of_kind(overlay, "Service")}
    for backend in parts(of_kind(overlay, "Ingress"), "backend"):
        service = services[backend["service"]["name"]]
        offered = {port["name"] for port in service["spec"]["ports"]}
        assert backend["service"]["port"]["name"] in offered


@each
def test_whatever_is_referred_to_is_there_or_is_yours_to_bring(overlay: str) -> None:
    """ConfigMaps, Secrets, accounts, claims; and docs/deployment.md names what is yours."""
    there = {(one["kind"], one["metadata"]["name"]) for one in RENDERED[overlay]}
    used: set[tuple[str, str]] = set()
    for _, template in templates(overlay):
        spec = template["spec"]
        used |= {("ConfigMap", one["name"]) for one in parts(spec, "configMap")}
        used |= {("ConfigMap", one["name"]) for one in parts(spec, "configMapRef")}
        used |= {("Secret", one["name"]) for one in parts(spec, "secretKeyRef")}
        used |= {
            ("PersistentVolumeClaim", one["claimName"])
            for one in parts(spec, "persistentVolumeClaim")
        }
        used.add(("ServiceAccount", spec["serviceAccountName"]))
    used |= {("Secret", name) for name in parts(of_kind(overlay, "Ingress"), "secretName")}
    assert used <= there | YOURS
    assert not [one for one in there if one[0] == "Secret"]
    page = (ROOT / "docs" / "deployment.md").read_text()
    for _, name in YOURS:
        assert f"`{name}`" in page


@each
def test_volumes_that_are_mounted_exist(overlay: str) -> None:
    """And each that exists is mounted; the root of every container is read-only."""
    for name, template in templates(overlay):
        spec = template["spec"]
        volumes = [volume["name"] for volume in spec["volumes"]]
        mounted = {mount["name"] for one in spec["containers"] for mount in one["volumeMounts"]}
        assert sorted(mounted) == sorted(volumes), name


@each
def test_every_container_is_closed(overlay: str) -> None:
    """What the namespace's `restricted` level asks for, and a read-only root beyond it."""
    for name, template in templates(overlay):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for name, container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][kind].keys()
    for account in of_kind(overlay, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@each
def test_no_variable_is_misspelt(overlay: str) -> None:
    """Those of Trivet are settings; those in `$(...)` are set before; those of Feast's file, too."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(overlay, "ConfigMap")}
    own = {f"TRIVET_{name.upper()}" for name in Settings.model_fields}
    for name, container in containers(overlay):
        known = {
            key for one in container.get("envFrom", []) for key in maps[one["configMapRef"]["name"]]
        }
        assert not {key for key in known if key.startswith("TRIVET_")} - own
        for variable in container.get("env", []):
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= known, name
            known.add(variable["name"])
        assert {key for key in known if key.startswith("TRIVET_")} <= own, name
        asked = set(re.findall(r"\$\((\w+)\)", " ".join(container.get("args", []))))
        assert asked <= known
        if any(mount["name"] == "feature-store" for mount in container["volumeMounts"]):
            file = maps["feature-store"]["feature_store.yaml"]
            assert set(re.findall(r"\$(\w+)", file)) <= known


@each
def test_commands_are_ones_that_trivet_has(overlay: str) -> None:
    """With their options, where the image's entrypoint is `trivet` and where a hook calls it."""
    commands = [
        container["args"]
        for name, container in containers(overlay)
        if name in {"apply", "materialize", "stream"}
    ]
    commands += [one["command"][1:] for one in parts(RENDERED[overlay], "exec")]
    assert len(commands) == 4
    for name, *arguments in commands:
        options = {o for param in command_line.commands[name].params for o in param.opts}
        given = {one.partition("=")[0] for one in arguments if one.startswith("--")}
        assert given <= options


@each
def test_probes_ask_what_the_service_answers(overlay: str) -> None:
    """BentoML's own paths. A store that is down must not restart a pod: that is for readiness alone."""
    (service,) = [one for name, one in containers(overlay) if name == "flight-delay"]
    paths = {kind: service[f"{kind}Probe"]["httpGet"]["path"] for kind in PROBES}
    assert paths == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}
    page = (ROOT / "docs" / "service.md").read_text()
    assert all(path in page for path in paths.values())


PROBES = ("startup", "readiness", "liveness")


@each
def test_there_is_time_to_drain(overlay: str) -> None:
    """Unready is seen before the wait is over, and the longest request ends before the kill."""
    (pod,) = [one["spec"] for name, one in templates(overlay) if name == "flight-delay"]
    (service,) = pod["containers"]
    *_, option, wait = service["lifecycle"]["preStop"]["exec"]["command"]
    assert option == "--wait"
    probe = service["readinessProbe"]
    seen = probe["failureThreshold"] * (probe["periodSeconds"] + probe["timeoutSeconds"])
    start_of_a_command, longest_request, log_and_end = 3, 10, 10
    assert seen + 5 <= int(wait)
    needed = start_of_a_command + int(wait) + longest_request + log_and_end
    assert needed <= pod["terminationGracePeriodSeconds"]
    startup = service["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] >= 60
    (drain,) = [one for one in service["env"] if one["name"] == "TRIVET_DRAIN_FILE"]
    folders = {mount["mountPath"]: mount["name"] for mount in service["volumeMounts"]}
    volume = next(
        v for v in pod["volumes"] if v["name"] == folders[drain["value"].rsplit("/", 1)[0]]
    )
    assert "emptyDir" in volume, "a drain file that outlived its pod would drain the next one"


@each
def test_the_autoscaler_scales_what_is_there_by_what_is_measured(overlay: str) -> None:
    """It has the replicas to itself, and goes by a share of what a pod asks for."""
    (scaler,) = of_kind(overlay, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    (deployment,) = [
        one for one in of_kind(overlay, target["kind"]) if one["metadata"]["name"] == target["name"]
    ]
    assert deployment["apiVersion"] == target["apiVersion"]
    assert "replicas" not in deployment["spec"]
    resource, *others = scaler["spec"]["metrics"]
    requests = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert resource["resource"]["name"] in requests
    # With a metric that nobody offers it would never take a pod away.
    assert bool(others) == (overlay == "production")


def test_the_autoscalers_other_metric_is_one_that_the_adapter_offers() -> None:
    """One of the service's, under the name that prometheus-adapter gives it."""
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler")
    _, pods = scaler["spec"]["metrics"]
    name = pods["pods"]["metric"]["name"]
    assert faults(name) == []
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter" / "values.yaml").read_text())[
        "rules"
    ]["custom"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(name + "{")
    assert re.fullmatch(rule["name"]["matches"], name)


def test_production_survives_a_node() -> None:
    """Three pods on three nodes at least, one of which may be taken away at a time."""
    overlay = "production"
    (scaler,) = of_kind(overlay, "HorizontalPodAutoscaler")
    (budget,) = of_kind(overlay, "PodDisruptionBudget")
    assert scaler["spec"]["minReplicas"] - budget["spec"]["maxUnavailable"] >= 2
    (pod,) = [one["spec"] for name, one in templates(overlay) if name == "flight-delay"]
    by_host = pod["topologySpreadConstraints"][0]
    assert by_host["topologyKey"] == "kubernetes.io/hostname"
    assert by_host["whenUnsatisfiable"] == "DoNotSchedule"


@each
def test_a_policy_lets_through_what_an_address_asks_for_and_nothing_else(overlay: str) -> None:
    """Each workload's addresses, by namespace and port, beside its egress rules."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(overlay, "ConfigMap")}
    for name, template in templates(overlay):
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "stores":
            continue
        text = str(template["spec"]["containers"])
        wanted = {
            (place_of(maps["trivet"][f"{store}_HOST"]), int(maps["trivet"][f"{store}_PORT"]))
            for store in ("REDIS", "POSTGRES")
            if f"$({store}_HOST)" in text
        }
        if name in {"stream", "apply"}:  # those that ask which versions are live
            host, _, port = (
                maps["trivet"]["MLFLOW_TRACKING_URI"].removeprefix("http://").partition(":")
            )
            wanted.add((place_of(host), int(port)))
        assert allowed(overlay, template["metadata"]["labels"]) == wanted, name


def place_of(host: str) -> str:
    """Return the namespace that a name in the cluster is of, or `here`."""
    return host.split(".")[1] if "." in host else "here"


def allowed(overlay: str, labels: dict[str, str]) -> set[tuple[str, int]]:
    """Return namespace and port of all that a pod may reach, but for the names' server."""
    found = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        if not selects(policy["spec"]["podSelector"], labels):
            continue
        for rule in policy["spec"].get("egress", []):
            for to in rule["to"]:
                spaces = to.get("namespaceSelector", {}).get("matchLabels", {})
                place = spaces.get("kubernetes.io/metadata.name", "here")
                found |= {(place, port["port"]) for port in rule["ports"]}
    return {(place, port) for place, port in found if (place, port) != ("kube-system", 53)}


@each
def test_what_no_policy_allows_is_denied(overlay: str) -> None:
    """For every pod, both ways; and nobody but a balancer and Prometheus comes to the service."""
    denied = [
        one["spec"] for one in of_kind(overlay, "NetworkPolicy") if not one["spec"]["podSelector"]
    ]
    assert any(
        set(one["policyTypes"]) == {"Ingress", "Egress"} and not {"ingress", "egress"} & one.keys()
        for one in denied
    )
    (serving,) = [
        one["spec"]
        for one in of_kind(overlay, "NetworkPolicy")
        if one["metadata"]["name"] == "to-serving"
    ]
    sources = set(parts(serving["ingress"], "kubernetes.io/metadata.name"))
    assert {"haproxy-controller", "monitoring"} <= sources
    assert sources <= {"haproxy-controller", "monitoring", "ingress-nginx"}
    assert set(parts(serving["ingress"], "port")) == {"http"}


def test_two_materializations_do_not_meet() -> None:
    """No lock is shared between hosts; the source is never written to."""
    job = cron_job("production", "materialize")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    volumes = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    (offline,) = [one for one in volumes if one["name"] == "offline"]
    assert offline["persistentVolumeClaim"]["readOnly"] is True


@each
def test_definitions_come_into_the_registry_by_a_job_that_can_be_made_again(overlay: str) -> None:
    """Nothing is ready before it has run: whoever materializes and it are alike but for the command."""
    job, other = cron_job(overlay, "apply"), cron_job(overlay, "materialize")
    assert job["spec"]["suspend"] is True, "it would apply when nobody asks for it"
    assert "suspend" not in other["spec"]
    own, others = (one["spec"]["jobTemplate"]["spec"]["template"]["spec"] for one in (job, other))
    assert own["volumes"] == others["volumes"]
    (container,), (like,) = own["containers"], others["containers"]
    assert container["args"] == ["apply"]
    for key in ("image", "envFrom", "volumeMounts"):
        assert container[key] == like[key], key
    mlflow = [one for one in container["env"] if one not in like["env"]]
    assert [one for one in container["env"] if one in like["env"]] == like["env"]
    given = {one["name"]: one.get("value") for one in mlflow}
    account = {"MLFLOW_TRACKING_USERNAME": None, "MLFLOW_TRACKING_PASSWORD": None}
    nowhere_else = {"MLFLOW_TRACKING_URI": "sqlite:////tmp/mlflow.db"}
    assert given == account | (nowhere_else if overlay == "local" else {})


def test_the_page_says_how_definitions_are_applied() -> None:
    """After the manifests, before anything is ready; and what must not run meanwhile."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    order = [
        "kubectl create secret generic trivet-stores",
        "kubectl apply -k deploy/kubernetes/overlays/production",
        "kubectl create job apply-1 -n trivet --from=cronjob/apply",
        "kubectl wait job/apply-1",
    ]
    places = [page.find(command) for command in order]
    assert -1 not in places
    assert places == sorted(places)


@each
def test_the_ingress_offers_only_routes_for_callers(overlay: str) -> None:
    """Metrics and state of the replicas stay inside."""
    paths = {one["path"] for rules in parts(of_kind(overlay, "Ingress"), "paths") for one in rules}
    assert paths <= {"/predict", "/contract", "/v2"}


def test_a_kustomization_that_asks_for_more_is_refused(tmp_path: Any) -> None:
    """So that a test never sees something else than kubectl renders."""
    (tmp_path / "kustomization.yaml").write_text("resources: []\nnamePrefix: x-\n")
    with pytest.raises(ValueError, match="namePrefix"):
        render(tmp_path)


def test_a_patch_of_nothing_is_refused(tmp_path: Any) -> None:
    """It would be lost without a word."""
    patch = {"target": {"kind": "Deployment", "name": "gone"}, "patch": "[]"}
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": [], "patches": [patch]})
    )
    with pytest.raises(ValueError, match="no Deployment gone"):
        render(tmp_path)
