"""scripts/fleet and the rules for many machines: manifests have the shape that they must have, and speak of what there is."""

import re
import tomllib

import pytest
import yaml

from listening import get, served_url, wait_until
from memtrace_runner import Memtrace
from targets import REPOSITORY, Target
from tracer import run_memtrace

SCRIPTS = REPOSITORY / "scripts"


@pytest.fixture(scope="module", name="manifest")
def fixture_manifest():
    documents = list(yaml.safe_load_all((SCRIPTS / "fleet/daemonset.yaml").read_text(encoding="utf-8")))
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return by_kind


def test_the_manifest_has_the_shape_of_a_daemonset(manifest):
    daemonset = manifest["DaemonSet"]
    assert (daemonset["apiVersion"], manifest["Namespace"]["apiVersion"]) == ("apps/v1", "v1")
    template = daemonset["spec"]["template"]
    labels = daemonset["spec"]["selector"]["matchLabels"]
    assert labels.items() <= template["metadata"]["labels"].items()
    for kind in ("ServiceAccount", "ConfigMap", "DaemonSet"):
        assert manifest[kind]["metadata"]["namespace"] == manifest["Namespace"]["metadata"]["name"]
    pod = template["spec"]
    assert pod["hostPID"] is True and pod["serviceAccountName"] == manifest["ServiceAccount"]["metadata"]["name"]
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == set(volumes)
    assert volumes["configuration"]["configMap"]["name"] == manifest["ConfigMap"]["metadata"]["name"]
    assert {"/sys/kernel/btf", "/sys/kernel/tracing"} <= set(mounts)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert len({"exec", "tcpSocket", "httpGet", "grpc"} & set(container[probe])) == 1
    assert {"requests", "limits"} == set(container["resources"])
    annotations = template["metadata"]["annotations"]
    assert all(isinstance(value, str) for value in annotations.values())
    assert int(annotations["prometheus.io/port"]) == container["ports"][0]["containerPort"]


def test_the_pod_may_do_what_the_service_may(manifest):
    context = manifest["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    unit = (SCRIPTS / "systemd/memtrace.service").read_text(encoding="utf-8")
    capabilities = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)[1].split()
    assert ["CAP_" + name for name in context["capabilities"]["add"]] == capabilities
    assert context["capabilities"]["drop"] == ["ALL"] and context["privileged"] is False and context["readOnlyRootFilesystem"] is True


def configurations(manifest):
    yield from manifest["ConfigMap"]["data"].values()
    yield (SCRIPTS / "systemd/memtrace.toml").read_text(encoding="utf-8")


def test_its_configuration_says_what_memtrace_knows(manifest):
    known = run_memtrace("daemon", "--help").out
    for text in configurations(manifest):
        for uncommented in (text, re.sub(r"^# (?=[a-z-]+ = |\[)", "", text, flags=re.MULTILINE)):
            for option, value in tomllib.loads(uncommented).get("trace", {}).items():
                assert re.search(rf"^  --{option} ", known, re.MULTILINE), option
                assert isinstance(value, (str, int, bool, list))
    listen = tomllib.loads(manifest["ConfigMap"]["data"]["memtrace.toml"])["trace"]["listen"]
    container = manifest["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]
    assert int(listen.rpartition(":")[2]) == container["ports"][0]["containerPort"]


def in_bytes(text):
    number, unit = re.fullmatch(r"(\d+)([MG])(?:i?B|i)?", text).groups()
    return int(number) << {"M": 20, "G": 30}[unit]


def test_its_own_budget_comes_before_what_would_end_it(manifest):
    pod, unit = (in_bytes(tomllib.loads(text)["trace"]["own-memory"]) for text in configurations(manifest))
    container = manifest["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]
    assert pod <= in_bytes(container["resources"]["limits"]["memory"]) / 2
    service = (SCRIPTS / "systemd/memtrace.service").read_text(encoding="utf-8")
    high, most = (in_bytes(re.search(rf"^Memory{name}=(.*)$", service, re.MULTILINE)[1]) for name in ("High", "Max"))
    assert unit < high < most and unit <= most / 2


def test_rules_of_the_fleet_are_of_metrics_that_there_are(tmp_path):
    rules = yaml.safe_load((SCRIPTS / "prometheus/memtrace.fleet.rules.yml").read_text(encoding="utf-8"))
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    wanted = set(re.findall(r"(?<![:\w])memtrace_\w+(?!:)\b", expressions))
    assert len(wanted) > 8
    options = ("--listen", "127.0.0.1:0", "--interval", "500ms", "--push-profiles", "parca+http://127.0.0.1:1")
    with Target.start("leak_rate", ["--rate", 1 << 20, "--duration", 600]) as target:
        with Memtrace.attach(tmp_path, target.ready(), *options) as memtrace:
            target.go()
            url = served_url(memtrace)

            def missing():
                return wanted - set(re.findall(r"^# TYPE (\w+)", get(url + "metrics")[2], re.MULTILINE))

            wait_until(lambda: not missing(), lambda: f"metrics {missing()}")


def series_of(processes):
    """The bound that the README gives."""
    return 15 + processes * (95 + 9 * min(20, max(3, 2000 // processes)))


def test_series_are_what_the_readme_says(tmp_path):
    text = (SCRIPTS / "fleet/README.md").read_text(encoding="utf-8")
    for processes, series in re.findall(r"P = (\d+): ([\d,]+)", text):
        assert int(series.replace(",", "")) == series_of(int(processes))
    with Target.start("contract") as target, Memtrace.attach(tmp_path, target.ready(), "--listen", "127.0.0.1:0", "--interval", "500ms") as memtrace:
        target.go()
        url = served_url(memtrace)
        wait_until(lambda: "memtrace_site_live_bytes" in get(url + "metrics")[2], "a site")
        lines = [line for line in get(url + "metrics")[2].splitlines() if not line.startswith("#")]
    of_process = [line for line in lines if "pid=" in line]
    sites = {}
    for line in of_process:
        if site := re.search(r'^(memtrace_site_\w+)\{.*site="(\w+)"', line):
            sites.setdefault(site[2], []).append(site[1])
    assert sites and all(len(metrics) <= 9 for metrics in sites.values()), sites
    assert len(lines) <= series_of(1)
