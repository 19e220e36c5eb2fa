"""The chart, rendered by Helm's engine and checked by the schemas of Kubernetes, and the same for kustomize.

`MANIFESTS=write pytest tests/deploy/test_kubernetes.py` renews the file of kustomize. No cluster is needed or asked.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import settings
from cli.commands.processes import QUEUES
from domain.values.version import VERSION
from tests.debian import program
from tests.deploy.conftest import CHART, ROOT
from tests.deploy.processes import parsed

Chart = Callable[[dict[str, Any]], dict[str, Any]]
Manifest = dict[str, Any]

BASE = ROOT / "deploy" / "kustomize" / "base"
PAGE = (ROOT / "docs" / "deploying.md").read_text()
# Everything that is off by default.
FULL = {
    "settings": {"SAGAHOLD_PUBLIC_URL": "https://hold.example.com", "SAGAHOLD_PROXIES": 1},
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "MAIL_TOKEN", "valueFrom": {"secretKeyRef": {"name": "tools", "key": "mail"}}}],
    "web": {"autoscaling": {"enabled": True}},
    "workers": {"rest": None, "mail": {"queues": ["webhooks", "notifications"], "concurrency": 100}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "egress": [{"ports": [{"port": 5432}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccountName": "sagahold",
    "podAnnotations": {"example.com/team": "payments"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
}


@pytest.fixture(scope="module")
def default(chart: Chart) -> dict[str, Any]:
    return chart({})


def manifests(said: dict[str, Any]) -> list[Manifest]:
    assert (said["lint"], said["error"]) == ([], None)
    texts = [text for name, text in said["templates"].items() if name.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def by_kind(found: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pods(found: list[Manifest]) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in found if "template" in each["spec"]}


def test_its_version_is_the_servers() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (described["version"], described["appVersion"]) == (VERSION, VERSION)


def test_each_process_has_few_rights_and_a_valid_command(default: dict[str, Any]) -> None:
    found = pods(manifests(default))
    processes = ("beat", "release", "web", "worker-rest", "worker-tools")
    assert sorted(found) == [f"sagahold-{name}" for name in processes]
    served = set()
    for pod in found.values():
        (container,) = pod["containers"]
        # The rules of the Pod Security Standard "restricted".
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
        name, *words = container["args"]
        served |= set(parsed(name, words).get("queues", "").split(","))
    assert served >= set(QUEUES.split(","))
    found_kinds = manifests(default)
    beat_rollout = by_kind(found_kinds, "Deployment")["sagahold-beat"]["spec"]
    assert (beat_rollout["replicas"], beat_rollout["strategy"]) == (1, {"type": "Recreate"})
    job = by_kind(found_kinds, "Job")["sagahold-release"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    selectors = [json.dumps(each["spec"]["selector"]) for each in by_kind(found_kinds, "Deployment").values()]
    assert len(set(selectors)) == len(selectors)


def test_secrets_are_files_of_a_secret_that_it_does_not_make(default: dict[str, Any], tmp_path: Path) -> None:
    """The settings of each pod load, with the files where the variables say."""
    found = manifests(default)
    assert not by_kind(found, "Secret")
    contents = {"database_url": "postgresql://db/x", "redis_url": "redis://r", "encryption_key": "k" * 32}
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    for pod in pods(found).values():
        (container,) = pod["containers"]
        given = {each["name"]: each["value"] for each in container["env"]}
        volume = next(each["secret"] for each in pod["volumes"] if "secret" in each)
        mounted = next(each["mountPath"] for each in container["volumeMounts"] if each["name"] == "secrets")
        assert {item["path"] for item in volume["items"]} == set(contents)
        loaded = settings.load({name: value.replace(mounted, str(tmp_path)) for name, value in given.items()})
        assert (loaded.database_url, loaded.redis_url) == ("postgresql+psycopg2://db/x", "redis://r")
        assert loaded.encryption_key == "k" * 32
        assert loaded.public_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_what_is_off_by_default(
    chart: Chart, check_custom_resources: Callable[[list[Manifest]], None], kind: str
) -> None:
    found = manifests(chart({**FULL, "worker": {"autoscaling": {"kind": kind}}}))
    names = {each["metadata"]["name"] for each in found if each["kind"] == "Deployment"}
    workers = {"sagahold-worker-mail", "sagahold-worker-tools"}
    assert names == {"sagahold-beat", "sagahold-web", *workers}
    scaled = by_kind(found, "HorizontalPodAutoscaler")
    if kind == "hpa":
        metric = scaled["sagahold-worker-mail"]["spec"]["metrics"][0]["external"]["metric"]["name"]
        assert metric == "sagahold_overdue_seconds"
    else:
        scaled |= by_kind(found, "ScaledObject")
        trigger = scaled["sagahold-worker-mail"]["spec"]["triggers"][0]["metadata"]
        assert trigger["query"] == "max(sagahold_overdue_seconds)"
    assert {each["spec"]["scaleTargetRef"]["name"] for each in scaled.values()} == {"sagahold-web", *workers}
    for name in scaled:
        # Each rollout would set the number again.
        assert "replicas" not in by_kind(found, "Deployment")[name]["spec"]
    (monitor,) = by_kind(found, "ServiceMonitor").values()
    (service,) = by_kind(found, "Service").values()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    check_custom_resources([each for each in found if each["kind"] in ("ScaledObject", "ServiceMonitor")])


def test_every_selector_finds_pods(default: dict[str, Any]) -> None:
    found = manifests(default)
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in found if "template" in each["spec"]]
    for each in found:
        selector = each["spec"].get("podSelector") or each["spec"].get("selector", {})
        wanted = selector.get("matchLabels", selector)
        matching = [own for own in labels if wanted.items() <= own.items()]
        assert matching if each["kind"] == "NetworkPolicy" else len(matching) == 1 or each["kind"] == "Job", each
    web = by_kind(found, "NetworkPolicy")["sagahold-web"]["spec"]["ingress"]
    assert web == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert by_kind(found, "NetworkPolicy")["sagahold"]["spec"]["ingress"] == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"workers": {"mails": {"queues": ["mails"]}}}, "queues"),
        ({"secrets": {"DATABASE_URL": None}}, "DATABASE_URL"),
        ({"replicas": 3}, "replicas"),
    ],
)
def test_wrong_values_are_refused(chart: Chart, values: dict[str, Any], says: str) -> None:
    assert says in chart(values)["error"]


def plain(said: dict[str, Any]) -> str:
    """Return the manifests as kustomize takes them: without what only Helm understands."""
    parts = [text.strip("-\n ") for name, text in sorted(said["templates"].items()) if name.endswith(".yaml")]
    text = "\n---\n".join(part for part in parts if part) + "\n"
    return re.sub(
        r"^ +(app.kubernetes.io/managed-by: Helm|annotations:\n +#.*\n( +helm\.sh/.*\n?)+)\n?", "", text, flags=re.M
    )


def build(folder: Path) -> list[Manifest]:
    """Return what `kubectl kustomize` makes of the folder."""
    kubectl = program("kubectl", "kubernetes-client")
    ran = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [each for each in yaml.safe_load_all(ran.stdout) if each]


def test_the_base_of_kustomize_is_the_chart(default: dict[str, Any]) -> None:
    text = plain(default)
    if os.environ.get("MANIFESTS") == "write":
        (BASE / "sagahold.yaml").write_text(text)
    assert (BASE / "sagahold.yaml").read_text() == text
    assert "helm" not in text.lower()
    built = {(each["kind"], each["metadata"]["name"]) for each in build(BASE)}
    assert built == {(each["kind"], each["metadata"]["name"]) for each in manifests(default)}


def test_the_overlay_of_the_page(tmp_path: Path) -> None:
    overlay = re.search(r"^```yaml\n(apiVersion: kustomize.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert overlay is not None
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay" / "kustomization.yaml").write_text(overlay[1])
    (tmp_path / "base").symlink_to(BASE)
    found = pods(build(tmp_path / "overlay"))
    assert len(found) == 5
    for pod in found.values():
        (container,) = pod["containers"]
        assert container["image"] == f"registry.example.com/sagahold:{VERSION}"
        given = {each["name"]: each["value"] for each in container["env"]}
        assert given["SAGAHOLD_PUBLIC_URL"] == "https://hold.example.com"
        assert "DATABASE_URL_FILE" in given
