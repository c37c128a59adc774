"""From a leak to the person on call: a live memtrace, scraped by Debian's Prometheus, whose alerts reach Debian's Alertmanager.

Six programs are traced: the demo database under load with one of its bugs, one that leaks at a known rate, three that do wrong by the
SDK, one that has a pool. Every query of every dashboard in
scripts/grafana and every rule in scripts/prometheus is run against what Prometheus has of them. Servers have ports and directories of
their own, and end with the tests.
"""

import json
import re
import subprocess
import urllib.parse
from contextlib import ExitStack

import pytest

from listening import free_port, get, served_url, wait_until
from memtrace_runner import Memtrace
from targets import REPOSITORY, TARGETS, Target
from test_lightning import Client, Server, programs  # noqa: F401  (programs builds the server)

SCRIPTS = REPOSITORY / "scripts"
RULES = SCRIPTS / "prometheus" / "memtrace.rules.yml"
FLEET_RULES = RULES.with_name("memtrace.fleet.rules.yml")
DASHBOARDS = sorted((SCRIPTS / "grafana").glob("*.json"))
LEAK_RATE = 1 << 20  # bytes a second


class Live:
    """The programs, memtrace on them, and the two servers."""

    def __init__(self, stack, directory):
        self.targets = {}
        for name, program, arguments in (
            ("leak", "leak_rate", ["--rate", LEAK_RATE, "--duration", 600]),
            ("cycle", "holder", ["--bug", "cycle-2"]),
            ("cursor", "holder", ["--bug", "cursor"]),
            ("error", "holder", ["--bug", "double-release"]),
            ("pool", "contract", []),
        ):
            self.targets[name] = stack.enter_context(Target.start(program, arguments))
        self.pids = {name: str(target.ready()) for name, target in self.targets.items()}
        (directory / "lightning").mkdir()
        self.database = stack.enter_context(Server(directory / "lightning", "--bug", "cursor-buffer"))
        self.pids["database"] = str(self.database.pid)
        # A budget that is never reached: all is traced exactly, and the metrics have a budget.
        options = ["--listen", "127.0.0.1:0", "--interval", "1s", "--sample", "auto", "--max-overhead", "100%"]
        # A sink that takes what it is told and one that does not, and a store of profiles that is not there.
        sinks = directory / "sinks.toml"
        sinks.write_text("".join(f'[[sink]]\nname = "{name}"\ntype = "command"\ncommand = ["{name}"]\n' for name in ("true", "false")))
        options += ["--config", sinks, "--push-profiles", f"parca+http://127.0.0.1:{free_port()}"]
        self.memtrace = stack.enter_context(Memtrace.attach(directory, list(self.pids.values()), *options))
        self.url = served_url(self.memtrace)
        for target in self.targets.values():
            target.go()
        load = [TARGETS / "lightning-load", "--socket", self.database.path, "--seconds", 600, "--rate", 500]
        self._start(stack, directory, "load", [*load, "--mix", "get=50,put=32,delete=2,scan=16", "--forget", 30])
        self.alertmanager = self._start_alertmanager(stack, directory)
        self.prometheus = self._start_prometheus(stack, directory)

    def _start(self, stack, directory, name, command):
        with open(directory / f"{name}.log", "wb") as log:
            process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
        stack.callback(process.wait)
        stack.callback(process.kill)

    def _start_alertmanager(self, stack, directory):
        port = free_port()
        configuration = directory / "alertmanager.yml"
        configuration.write_text("route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n")
        self._start(
            stack, directory, "alertmanager",
            ["prometheus-alertmanager", f"--config.file={configuration}", f"--storage.path={directory}/alertmanager",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        )  # fmt: skip
        return f"http://127.0.0.1:{port}"

    def _start_prometheus(self, stack, directory):
        port, closed = free_port(), free_port()
        rules = [directory / path.name for path in (RULES, FLEET_RULES)]
        for path in rules:
            text = re.sub(r"^( +for:) .*$", r"\1 0s", RULES.with_name(path.name).read_text(), flags=re.MULTILINE)
            path.write_text(re.sub(r"^( +interval:) .*$", r"\1 1s", text, flags=re.MULTILINE))
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "memtrace",
                    "static_configs": [{"targets": [urllib.parse.urlsplit(self.url).netloc, f"127.0.0.1:{closed}"]}],
                }
            ],
            "rule_files": list(map(str, rules)),
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager.removeprefix("http://")]}]}]},
        }
        (directory / "prometheus.yml").write_text(json.dumps(configuration))  # which is YAML too
        self._start(
            stack, directory, "prometheus",
            ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb",
             f"--web.listen-address=127.0.0.1:{port}"],
        )  # fmt: skip
        return f"http://127.0.0.1:{port}"

    def api(self, path, **arguments):
        status, _, text = get(f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(arguments)}")
        answer = json.loads(text)
        assert status == 200 and answer["status"] == "success", f"{path} {arguments}: {text}"
        return answer["data"]

    def query(self, expression):
        """The result of a query now: pairs of labels and value."""
        return [(found["metric"], float(found["value"][1])) for found in self.api("query", query=expression)["result"]]

    def value(self, expression):
        """The value of a query of one series; None where it has none."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression}: {found}"
        return found[0][1] if found else None

    def firing(self):
        return {
            alert["labels"]["alertname"]
            for alert in self.api("alerts")["alerts"]
            if alert["state"] == "firing" and alert["labels"].get("severity")
        }


EXPECTED_ALERTS = {
    "MemtraceLeak",
    "MemtraceLeakingSite",
    "MemtraceFastLeak",
    "MemtraceResourcesLeaked",
    "MemtraceReferenceCycles",
    "MemtraceReferenceErrors",
    "MemtraceDown",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Once Prometheus has enough of it: the alerts that are to be expected fire, and rates have their samples."""
    with ExitStack() as stack:
        live = Live(stack, tmp_path_factory.mktemp("live"))
        for server in (live.prometheus, live.alertmanager):
            wait_until(lambda: get(f"{server}/-/ready")[0] == 200, server)
        wait_until(lambda: live.firing() >= EXPECTED_ALERTS, "the alerts that are expected")
        wait_until(lambda: (live.value(f'min(count_over_time(memtrace_live_bytes{{pid="{live.pids["leak"]}"}}[1m]))') or 0) > 10, "samples")
        yield live


def promtool(*arguments, **options):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout + done.stderr


def test_metrics_are_as_prometheus_wants_them(live):
    assert promtool("check", "metrics", input=get(live.url + "metrics")[2]) == (0, "")


@pytest.mark.parametrize("rules", [RULES, FLEET_RULES], ids=["rules", "fleet"])
@pytest.mark.parametrize("command", ["check", "test"])
def test_rules_are_right(command, rules):
    status, said = promtool(command, "rules", rules if command == "check" else rules.with_suffix(".test.yml"))
    assert status == 0, said
    assert "FAILED" not in said


def test_configuration_is_right():
    status, said = promtool("check", "config", SCRIPTS / "prometheus" / "prometheus.yml")
    assert status == 0, said


def near(value, truth, tolerance=0.15):
    return value is not None and abs(value - truth) <= tolerance * truth


@pytest.mark.parametrize(
    "expression",
    [
        'memtrace_leak_bytes_per_second{{pid="{pid}"}}',
        'memtrace_site_growth_bytes_per_second{{pid="{pid}",function="leak_steadily"}}',
        'deriv(memtrace_live_bytes{{pid="{pid}"}}[20s])',
        'rate(memtrace_site_allocated_bytes_total{{pid="{pid}",function="leak_steadily"}}[20s])',
    ],
)
def test_leak_rate_is_the_truth(live, expression):
    expression = expression.format(pid=live.pids["leak"])
    wait_until(lambda: near(live.value(expression), LEAK_RATE), f"{expression} within 15 % of {LEAK_RATE}")


def test_leak_of_the_database_is_its_own_account(live):
    client = Client(live.database)
    expression = f'sum(memtrace_site_live_bytes{{pid="{live.pids["database"]}",function=~"cursor_buffer_create.*"}})'
    wait_until(lambda: near(live.value(expression), client.truth()["live"]["cursor-buffer"][0]), f"{expression} within 15 % of the truth")
    client.close()


def test_other_figures_are_those_of_the_programs(live):
    for expression, value in (
        (f'memtrace_reference_cycles{{pid="{live.pids["cycle"]}"}}', 3),
        (f'memtrace_resources_leaked{{pid="{live.pids["cursor"]}",kind="cursor"}}', 3),
        (f'memtrace_reference_errors{{pid="{live.pids["error"]}",kind="double_release"}}', 3),
        (f'memtrace_pool_limit{{pid="{live.pids["pool"]}",pool="connections"}}', 2),
        (f'memtrace_pool_in_use{{pid="{live.pids["pool"]}",pool="connections"}}', 1),
        ("memtrace_processes", len(live.pids)),
        (f'memtrace_coverage_mode{{pid="{live.pids["leak"]}",mode="exact"}}', 1),
        (f'memtrace_verdict{{pid="{live.pids["pool"]}",class="leak"}}', 0),
    ):
        assert live.value(expression) == value, expression


def test_alerts_of_memtrace_and_who_is_told_of_them(live):
    wait_until(lambda: live.value(f'memtrace_alerts{{pid="{live.pids["error"]}",alert="reference-error",state="firing"}}') or None, "an alert")
    wait_until(lambda: live.value('memtrace_alert_messages_total{sink="true"}') or None, "a message that was taken")
    wait_until(lambda: live.value('memtrace_alert_message_failures_total{sink="false"}') or None, "an attempt that failed")
    assert live.value('memtrace_alert_messages_total{sink="false"}') == 0
    assert live.query("memtrace_alert_messages_lost_total") and live.value("memtrace_alerts_refused_total") == 0


def substituted(text):
    """A query as Grafana would send it, with all chosen."""
    text = text.replace("$__rate_interval", "10s").replace("$__range", "1m").replace("$__interval", "1s")
    text = re.sub(r"\$(job|instance|comm|pid)\b", ".*", text)
    assert "$" not in text, f"a variable that is not known: {text}"
    return text


def targets_of(dashboard):
    return [(panel, target) for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_finds_something(live, path):
    """And with the labels that its legend names."""
    dashboard = json.loads(path.read_text())
    for panel, target in targets_of(dashboard):
        found = live.query(substituted(target["expr"]))
        assert found, f"{panel['title']}: {target['expr']} finds nothing"
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            assert all(label in labels for labels, _ in found), f"{panel['title']}: {target['expr']} has no {label}: {found}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_variable_of_a_dashboard_has_values(live, path):
    for variable in json.loads(path.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            values = live.api(f"label/{label}/values", **{"match[]": substituted(selector)})
            assert values, f"{variable['name']} has no values"
            assert label != "pid" or set(values) == set(live.pids.values())


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_can_be_imported_anywhere(path):
    """No identity of one Grafana is in it, and the data source is a variable."""
    dashboard = json.loads(path.read_text())
    assert "id" not in dashboard and dashboard["uid"] and dashboard["title"]
    assert [variable["name"] for variable in dashboard["templating"]["list"]][0] == "datasource"
    sources = [owner["datasource"] for pair in targets_of(dashboard) for owner in pair]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    places = {(x, y) for panel in dashboard["panels"] for x, y in cells(panel["gridPos"])}
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in dashboard["panels"]), "panels overlap"


def cells(place):
    assert place["x"] + place["w"] <= 24
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]


def test_every_rule_has_what_it_asks_for(live):
    """It can be evaluated, and each metric in it is there: an alert on a name that nobody has any more would never fire."""
    rules = [rule for group in live.api("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(re.findall(r"^ +- (?:alert|record):", RULES.read_text() + FLEET_RULES.read_text(), flags=re.MULTILINE))
    for rule in rules:
        assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"
        for metric in re.findall(r"(?:\w+:)?\bmemtrace_\w+(?::\w+)?|\bup\b", rule["query"]):
            assert live.query(metric), f"{rule['name']}: there is no {metric}"
        if rule["type"] == "recording":
            assert live.query(rule["name"]), f"{rule['name']} is not recorded"


def test_what_is_well_raises_no_alert(live):
    assert not live.firing() & {"MemtracePoolExhausted", "MemtraceStale", "MemtraceOnlyPages", "MemtraceOverBudget"}


def test_an_alert_travels_from_the_leak_to_alertmanager(live):
    def arrived():
        alerts = json.loads(get(f"{live.alertmanager}/api/v2/alerts")[2])
        return [alert for alert in alerts if alert["labels"].get("pid") == live.pids["leak"]]

    wait_until(lambda: {"MemtraceLeak", "MemtraceLeakingSite"} <= {alert["labels"]["alertname"] for alert in arrived()}, "the alerts")
    site = next(alert for alert in arrived() if alert["labels"]["alertname"] == "MemtraceLeakingSite")
    assert site["labels"]["function"] == "leak_steadily"
    assert site["labels"]["comm"] == "leak_rate"
    assert site["labels"]["verdict"] in ("definite", "probable")
    assert "leak_steadily in leak_rate" in site["annotations"]["summary"]


def test_snapshots_are_those_of_the_processes(live):
    status, headers, text = get(f"{live.url}api/report?pid={live.pids['leak']}")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    report = json.loads(text)
    assert report["schema"] == "memtrace.snapshot/1"
    assert str(report["process"]["pid"]) == live.pids["leak"]
    assert any(frame["function"] == "leak_steadily" for site in report["sites"] for frame in site["stack"])
    reports = [json.loads(line) for line in get(f"{live.url}api/report")[2].splitlines()]
    assert {str(report["process"]["pid"]) for report in reports} == set(live.pids.values())


def test_page_shows_the_leak(live):
    status, headers, text = get(f"{live.url}?pid={live.pids['leak']}")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'nonce-")
    assert "leak_steadily" in text and "leak_rate" in text
    assert get(live.url)[0] == get(live.url + "healthz")[0] == 200
    assert get(live.url + "nothing")[0] == 404
