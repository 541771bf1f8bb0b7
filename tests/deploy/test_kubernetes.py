"""Promises of deploy/kubernetes: every manifest is what the API takes, every process starts on what it is
given, each has its own key and its own callers, and nothing that holds money goes by mistake."""

from __future__ import annotations

import copy
import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from shoudan_cli.clients import ClientSettings
from shoudan_console.config import ConsoleSettings
from shoudan_kit.config import ConfigError, MigrateSettings
from shoudan_kit.service import STOP_GRACE_S, services
from shoudan_kit.tls.identity import Files
from shoudan_kit.tls.names import server_name, spiffe_name
from shoudan_kit.tls.nats_access import nats_access
from tests.deploy import kustomize
from tests.deploy.kustomize import Manifest, containers, pod_of
from tests.test_compose import OURS, folder_of_certificates
from tests.test_tidy import ROOT

FOLDER = ROOT / "deploy/kubernetes"
VERSIONS = [
    "1.33",
    "1.37",
]  # the oldest that these manifests are for, and the newest there is a schema of
FOREIGN = {"cert-manager.io", "postgresql.cnpg.io"}
CRDS: dict[str, Any] = yaml.safe_load((ROOT / "tests/deploy/crds.yaml").read_text())
KEPT = [name for name in OURS if name != "gateway"]
CALLED = [name for name in KEPT if name != "console"]  # browsers come to it, no process does

every_overlay = pytest.mark.parametrize("overlay", ["small", "production"])
every_service = pytest.mark.parametrize("name", OURS)


@functools.cache
def manifests(overlay: str) -> list[Manifest]:
    return kustomize.rendered(FOLDER / "overlays" / overlay)


def one(overlay: str, kind: str, name: str) -> Manifest:
    (found,) = (
        m for m in manifests(overlay) if m["kind"] == kind and m["metadata"]["name"] == name
    )
    return found


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [m for m in manifests(overlay) if m["kind"] in kinds]


def dashed(service: str) -> str:
    return service.replace("_", "-")


def check(manifest: Manifest, version: str) -> None:
    """Raises what the schema's library raises."""
    group = manifest["apiVersion"].partition("/")[0]
    if group not in FOREIGN:
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    jsonschema.validate(manifest["spec"], {**CRDS[manifest["kind"]], "$defs": CRDS["$defs"]})


@pytest.mark.parametrize("version", VERSIONS)
@every_overlay
def test_every_manifest_is_what_the_api_takes(overlay: str, version: str) -> None:
    for manifest in manifests(overlay):
        check(manifest, version)


def test_a_field_that_does_not_exist_is_found() -> None:
    for kind, name in (("Deployment", "order"), ("Cluster", "pay-db")):
        broken = copy.deepcopy(one("small", kind, name))
        broken["spec"]["replicaz"] = 2
        with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
            check(broken, VERSIONS[0])


@functools.cache
def secrets() -> dict[str, Manifest]:
    """What new-secrets.sh prints, by name."""
    folder = folder_of_certificates("cli").parent / "kubernetes"
    folder.mkdir(exist_ok=True)
    argv = ["sh", FOLDER / "new-secrets.sh", "https://pay.example.com", folder / "made.env"]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    found = [m for m in yaml.safe_load_all(text) if m is not None]
    for manifest in found:
        check(manifest, VERSIONS[-1])
    return {m["metadata"]["name"]: m for m in found}


def mounted(overlay: str, manifest: Manifest, container: Manifest) -> dict[str, str]:
    """Where the container's folders are here, by their paths in it: certificates alone."""
    pod = pod_of(manifest)
    assert pod is not None
    by_name = {volume["name"]: volume for volume in pod["volumes"]}
    found: dict[str, str] = {}
    for mount in container["volumeMounts"]:
        name = by_name[mount["name"]].get("secret", {}).get("secretName", "")
        if name.endswith("-tls"):
            (made,) = (
                c for c in of_kind(overlay, "Certificate") if c["spec"]["secretName"] == name
            )
            service = made["spec"]["uris"][0].removeprefix("spiffe://shoudan/")
            found[mount["mountPath"]] = str(folder_of_certificates(service) / "current")
        elif name.endswith("-db-ca"):
            found[mount["mountPath"]] = str(folder_of_certificates("cli") / "current")
    return found


def environment(overlay: str, manifest: Manifest, container: Manifest) -> dict[str, str]:
    """What the process finds, as the kubelet fills it in."""
    given: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            given |= one(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            given |= secrets()[source["secretRef"]["name"]].get("stringData") or {}
    for variable in container.get("env", []):
        if "value" in variable:
            text = re.sub(r"\$\((\w+)\)", lambda m: given[m[1]], variable["value"])
        else:
            key = variable["valueFrom"]["secretKeyRef"]
            text = secrets()[key["name"]]["stringData"][key["key"]]
        given[variable["name"]] = text
    folders = mounted(overlay, manifest, container)
    for path in sorted(folders, key=len, reverse=True):
        given = {k: v.replace(f"{path}/", f"{folders[path]}/") for k, v in given.items()}
    return given


@every_overlay
@every_service
def test_a_service_starts_on_what_its_manifest_gives_it(name: str, overlay: str) -> None:
    manifest = one(overlay, "Deployment", dashed(name))
    (container,) = containers(manifest)
    assert container["args"] == ["serve", name]
    given = environment(overlay, manifest, container)
    settings = services()[name].settings
    try:
        found = settings.load(name, environ=given)
    except ConfigError as error:
        pytest.fail(f"{overlay} lacks settings of {name}: {error}")
    assert found.profile == "prod"
    servers = {"small": 1, "production": 3}[overlay]
    assert found.nats_replicas == servers
    assert len(found.nats_servers) == (0 if name == "console" else servers)  # it publishes nothing
    for variable in (
        v["name"] for v in container.get("env", []) if v["name"].startswith("SHOUDAN")
    ):
        field = variable.removeprefix("SHOUDAN_").lower()
        known = {field, field.removeprefix(f"{name}_")} & settings.model_fields.keys()
        assert known, f"{variable} is no setting of {name}"
    # Health is asked where it is served, calls where they are listened for.
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "http" if name in {"gateway", "console"} else "grpc": found.listen_port,
        "ops": found.ops_port,
    }


@every_overlay
def test_migrate_alone_has_the_owners_and_finds_every_database(overlay: str) -> None:
    manifest = one(overlay, "CronJob", "migrate")
    (container,) = containers(manifest)
    given = environment(overlay, manifest, container)
    for name in KEPT:
        found = MigrateSettings.load(name, environ=given)
        assert found.owner_database_url is not None
        assert f"shoudan_{name}_owner:" in found.owner_database_url.reveal()
    assert container["args"] == ["migrate"]
    owners = {m["metadata"]["name"] for m in manifests(overlay) if "db-owner" in json.dumps(m)}
    assert owners == {"migrate", *(f"{dashed(name)}-db" for name in KEPT)}


@every_overlay
def test_a_process_cannot_write_its_image_or_gain_rights(overlay: str) -> None:
    for manifest in of_kind(overlay, "Deployment", "StatefulSet", "CronJob"):
        pod = pod_of(manifest)
        assert pod is not None
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
        assert pod["serviceAccountName"] == manifest["metadata"]["name"]
        for container in containers(manifest):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert container["image"] == "registry.example.com/shoudan:0.1.0"


@every_overlay
@every_service
def test_a_stop_is_waited_for_as_long_as_it_may_take(name: str, overlay: str) -> None:
    manifest = one(overlay, "Deployment", dashed(name))
    (container,) = containers(manifest)
    given = environment(overlay, manifest, container)
    drain_s = services()[name].settings.load(name, environ=given).drain_s
    before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    pod = pod_of(manifest)
    assert pod is not None
    assert before_s + drain_s + STOP_GRACE_S < pod["terminationGracePeriodSeconds"]
    # By then the readiness of the pod, and with it its address, is gone from DNS.
    assert before_s >= 2 * container["readinessProbe"]["periodSeconds"]


@every_overlay
@every_service
def test_the_paths_of_probes_are_those_that_exist(name: str, overlay: str) -> None:
    (container,) = containers(one(overlay, "Deployment", dashed(name)))
    asked = {
        p: container[f"{p}Probe"]["httpGet"]["path"] for p in ("startup", "readiness", "liveness")
    }
    assert asked == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}


@every_overlay
@pytest.mark.parametrize("name", [*OURS, "cli"])
def test_a_certificate_has_both_names_and_goes_to_its_process_alone(
    name: str, overlay: str
) -> None:
    made = one(overlay, "Certificate", dashed(name))
    assert made["spec"]["uris"] == [spiffe_name(name)]
    assert server_name(name) in made["spec"]["dnsNames"]
    users = [
        m["metadata"]["name"]
        for m in of_kind(overlay, "Deployment", "StatefulSet", "CronJob")
        if f'"{made["spec"]["secretName"]}"' in json.dumps(m)
    ]
    assert users == [dashed(name)]


@every_overlay
@pytest.mark.parametrize("name", CALLED)
def test_a_service_is_called_by_those_that_have_a_target_for_it(name: str, overlay: str) -> None:
    callers = {one for one in OURS if f"{name}_target" in services()[one].settings.model_fields}
    (rule,) = one(overlay, "NetworkPolicy", f"to-{dashed(name)}")["spec"]["ingress"]
    admitted = {source["podSelector"]["matchLabels"]["app"] for source in rule["from"]}
    assert admitted == {dashed(caller) for caller in callers} | {"cli"}
    for caller in (*callers, "cli"):
        leaves = one(overlay, "NetworkPolicy", f"from-{dashed(caller)}")["spec"]["egress"]
        goes = [
            peer.get("podSelector", {}).get("matchLabels", {}).get("app")
            for r in leaves
            for peer in r["to"]
        ]
        assert dashed(name) in goes


@every_overlay
@pytest.mark.parametrize("who", ["cli", "console"])
def test_a_persons_commands_and_the_console_look_at_every_replica(overlay: str, who: str) -> None:
    manifest = one(overlay, "Deployment", who)
    (container,) = containers(manifest)
    kind = ClientSettings if who == "cli" else ConsoleSettings
    found = kind.load(who, environ=environment(overlay, manifest, container))
    assert set(found.ops_urls) == set(OURS)
    for name, url in found.ops_urls.items():
        host, _, port = url.removeprefix("http://").partition(":")
        named = one(overlay, "Service", host)["spec"]
        served = containers(one(overlay, "Deployment", dashed(name)))[0]["ports"]
        assert (named["clusterIP"], named["selector"]) == ("None", {"app": dashed(name)})
        assert {"name": "ops", "containerPort": int(port)} in served


@every_overlay
def test_metrics_are_read_by_prometheus_and_commands_and_spans_leave(overlay: str) -> None:
    (read,) = one(overlay, "NetworkPolicy", "metrics")["spec"]["ingress"]
    monitoring = {"kubernetes.io/metadata.name": "monitoring"}
    ops, collector = ({"protocol": "TCP", "port": port} for port in (9090, 4317))
    assert read == {
        "from": [
            {"namespaceSelector": {"matchLabels": monitoring}},
            {"podSelector": {"matchLabels": {"app": "cli"}}},
            {"podSelector": {"matchLabels": {"app": "console"}}},
        ],
        "ports": [ops],
    }
    leaves = one(overlay, "NetworkPolicy", "from-cli")["spec"]["egress"]
    ours = {"podSelector": {"matchLabels": {"calls": "true"}}}
    assert {"to": [ours], "ports": [ops]} in leaves
    (spans,) = one(overlay, "NetworkPolicy", "spans")["spec"]["egress"]
    there = {"namespaceSelector": {"matchLabels": monitoring}}
    assert spans == {"to": [there], "ports": [collector]}


@every_overlay
def test_nothing_else_is_reached(overlay: str) -> None:
    nothing = one(overlay, "NetworkPolicy", "nothing")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in KEPT:
        rules = one(overlay, "NetworkPolicy", f"{dashed(name)}-db")["spec"]["ingress"]
        apps = [p["podSelector"]["matchLabels"].get("app") for p in rules[0]["from"]]
        assert apps == [dashed(name), "migrate", None]  # itself, for replication


@pytest.mark.parametrize("name", CALLED)
def test_a_name_gives_the_addresses_of_all_replicas(name: str) -> None:
    spec = one("production", "Service", dashed(name))["spec"]
    assert spec["clusterIP"] == "None"
    shared = one("production", "ConfigMap", "shoudan")["data"]
    port = spec["ports"][0]["port"]
    assert shared[f"SHOUDAN_{name.upper()}_TARGET"] == f"dns:///{dashed(name)}:{port}"


@pytest.mark.parametrize("name", KEPT)
def test_a_commit_in_production_is_on_two_servers(name: str) -> None:
    spec = one("production", "Cluster", f"{dashed(name)}-db")["spec"]
    assert spec["instances"] == 3
    assert spec["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
    }
    assert spec["affinity"]["topologyKey"] == "topology.kubernetes.io/zone"
    assert not {"fsync", "full_page_writes", "synchronous_commit"} & set(
        spec["postgresql"]["parameters"]
    )


def test_production_moves_one_replica_at_a_time() -> None:
    for name in OURS:
        deployment = one("production", "Deployment", dashed(name))["spec"]
        assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert one("production", "PodDisruptionBudget", dashed(name))["spec"]["maxUnavailable"] == 1
    scaled = {
        m["metadata"]["name"]: m["spec"] for m in of_kind("production", "HorizontalPodAutoscaler")
    }
    assert set(scaled) == {dashed(name) for name in OURS} - {"identity", "finance", "console"}
    for name, spec in scaled.items():
        assert spec["minReplicas"] >= 2
        assert "replicas" not in one("production", "Deployment", name)["spec"], (
            "an apply would undo it"
        )


@every_overlay
def test_what_holds_money_is_not_deleted_by_mistake(overlay: str) -> None:
    nats = one(overlay, "StatefulSet", "nats")["spec"]
    retained = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert nats["persistentVolumeClaimRetentionPolicy"] == retained
    guard = one(overlay, "ValidatingAdmissionPolicy", "shoudan-keeps-data")["spec"]
    guarded = {r for rule in guard["matchConstraints"]["resourceRules"] for r in rule["resources"]}
    assert {"clusters", "statefulsets", "persistentvolumeclaims", "secrets"} == guarded
    binding = one(overlay, "ValidatingAdmissionPolicyBinding", "shoudan-keeps-data")["spec"]
    assert binding["validationActions"] == ["Deny"]


def test_no_secret_stands_in_a_manifest_and_every_one_named_is_made() -> None:
    for overlay in ("small", "production"):
        assert of_kind(overlay, "Secret") == []
        for manifest in of_kind(overlay, "Deployment", "CronJob"):
            for container in containers(manifest):
                environment(overlay, manifest, container)  # each key that is named is there
        for cluster in of_kind(overlay, "Cluster"):
            roles = cluster["spec"]["managed"]["roles"]
            named = [cluster["spec"]["bootstrap"]["initdb"], *roles]
            for role in named:
                secret = role.get("secret") or role["passwordSecret"]
                found = secrets()[secret["name"]]
                assert found["type"] == "kubernetes.io/basic-auth"
                assert found["stringData"]["username"] == role.get("owner", role.get("name"))


def test_nats_lets_each_service_do_what_the_kit_says() -> None:
    lines = (FOLDER / "base/nats-access.conf").read_text().splitlines()
    found = json.loads("{" + "\n".join(line for line in lines if not line.startswith("#")) + "}")
    current = Path("/tls/current")
    files = Files(current / "tls.crt", current / "tls.key", current / "ca.crt")
    assert found == nats_access(
        files, ("order", "pay", "delivery", "erp_ingest", "identity", "finance", "gateway")
    )


def test_scripts_parse() -> None:
    subprocess.run(["sh", "-n", FOLDER / "new-secrets.sh"], check=True)
