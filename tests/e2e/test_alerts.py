"""From a leak to those who are told of it and to what is done: real programs, real HTTP, Debian's curl and Alertmanager."""

import json
import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager

import pytest

from listening import Receiver, free_port, get, wait_until
from memtrace_runner import MEMTRACE, Memtrace
from targets import Target

LEAK_RATE = 1 << 20  # bytes a second
RULE = """
[alerts]
defaults = false
spool = "{spool}"
[[alert]]
name = "grows"
when = "site-rate"
at_least = "100KiB"
severity = "critical"
match = {{ function = "leak_*" }}
"""


def messages(receiver):
    return [json.loads(post.body) for post in receiver.posts]


def told(receiver):
    return [alert for message in messages(receiver) for alert in message["alerts"]]


@contextmanager
def alerted(directory, config, *options, target=("leak_rate", ["--rate", LEAK_RATE, "--duration", 600])):
    """A program at work, and memtrace on it with this configuration."""
    path = directory / "alerts.toml"
    path.write_text(RULE.format(spool=directory / "spool") + config, encoding="utf-8")
    with Target.start(*target) as program:
        with Memtrace.attach(directory, program.ready(), "--config", path, "--interval", "500ms", *options) as memtrace:
            program.go()
            yield program, memtrace


def sink(kind, url, **settings):
    more = "".join(f"\n{key} = {json.dumps(value)}" for key, value in settings.items())
    return f'[[sink]]\nname = "{kind}"\ntype = "{kind}"\nurl = "{url}"{more}\n'


def test_a_webhook_is_told_when_it_fires_and_when_it_is_over(tmp_path):
    (tmp_path / "headers").write_text("Authorization: Bearer secret\n", encoding="utf-8")
    with Receiver() as receiver, alerted(tmp_path, sink("webhook", receiver.url + "/hook", header_file=str(tmp_path / "headers"))) as (target, memtrace):
        wait_until(lambda: told(receiver), "an alert")
        path, message = receiver.posts[0].path, messages(receiver)[0]
        (alert,) = message["alerts"]
        assert path == "/hook"
        assert receiver.posts[0].headers["Authorization"] == "Bearer secret"
        assert message["schema"] == "memtrace.alerts/1"
        assert message["process"]["pid"] == target.pid
        assert (alert["name"], alert["severity"], alert["state"]) == ("grows", "critical", "firing")
        assert alert["labels"]["function"].startswith("leak_") and alert["labels"]["pid"] == str(target.pid)
        assert LEAK_RATE / 2 < alert["value"] < LEAK_RATE * 2
        report = memtrace.wait_report(lambda report: report["alerts"])
        assert report["alerts"][0]["name"] == "grows"
        target.close()
        assert memtrace.finish() == 0
    assert [alert["state"] for alert in told(receiver)] == ["firing", "resolved"]


def test_at_a_regular_end_what_fires_is_told_as_resolved(tmp_path):
    with Receiver() as receiver:
        for run in (1, 2):  # what went on meanwhile fires anew
            with alerted(tmp_path, sink("webhook", receiver.url)) as (_, memtrace):
                wait_until(lambda: len(told(receiver)) == 2 * run - 1, "an alert")
                memtrace.process.send_signal(signal.SIGTERM)
                assert memtrace.finish() == 0
        assert [alert["state"] for alert in told(receiver)] == ["firing", "resolved"] * 2
        assert all(alert["text"].startswith("memtrace ends") for alert in told(receiver)[1::2])


def test_a_receiver_that_hangs_keeps_nobody(tmp_path):
    with Receiver(hold=True) as receiver, alerted(tmp_path, sink("webhook", receiver.url, timeout="60s")) as (_, memtrace):
        wait_until(lambda: receiver.posts, "an attempt")
        first = memtrace.wait_report(lambda report: report["alerts"])
        memtrace.wait_report(lambda report: report["duration_s"] > first["duration_s"] + 2)
        memtrace.interrupt()
        wait_until(lambda: json.loads(memtrace.out.read_text())["process"]["state"] == "detached", "the last report")
        receiver.let_go.set()
        assert memtrace.finish() == 0


def test_a_log_that_nobody_reads_keeps_nobody(tmp_path):
    with alerted(tmp_path, '[[sink]]\nname = "log"\ntype = "log"\n') as (target, memtrace):
        with open(f"/proc/self/fd/{memtrace.process.stdout.fileno()}", "wb", buffering=0, opener=lambda path, _: os.open(path, os.O_WRONLY | os.O_NONBLOCK)) as pipe:
            while pipe.write(b"." * 4096):  # None: there is no room any more
                pass
        first = memtrace.wait_report(lambda report: report["alerts"])
        memtrace.wait_report(lambda report: report["duration_s"] > first["duration_s"] + 2)
        memtrace.wait_said("alert firing grows")
        target.close()
        assert memtrace.finish() == 0
    assert "alert resolved grows" in memtrace.said


def test_what_could_not_be_told_outlasts_a_kill(tmp_path):
    with Receiver() as gone:
        nobody = gone.url  # a port where nobody listens any more
    with alerted(tmp_path, sink("webhook", nobody)) as (target, memtrace):
        memtrace.wait_said("it is tried again")
        wait_until(lambda: list((tmp_path / "spool").glob("webhook.*.json")), "a spooled message")
        memtrace.process.send_signal(signal.SIGKILL)
        memtrace.process.wait()
        pid = target.pid
    with Receiver() as receiver:
        quiet = ("leak_rate", ["--rate", 10, "--duration", 600])
        with alerted(tmp_path, sink("webhook", receiver.url), target=quiet) as (_, memtrace):
            wait_until(lambda: told(receiver), "the message of the run before")
            assert messages(receiver)[0]["process"]["pid"] == pid
            memtrace.stop()
        assert not list((tmp_path / "spool").glob("webhook.*.json"))


def test_alertmanager_is_told_again_and_again(tmp_path):
    with Receiver() as receiver, alerted(tmp_path, sink("alertmanager", receiver.url, repeat="1s")) as (target, memtrace):
        wait_until(lambda: len(receiver.posts) >= 3, "three times")
        assert {post.path for post in receiver.posts} == {"/api/v2/alerts"}
        for alerts in messages(receiver):
            assert {alert["labels"]["alertname"] for alert in alerts} == {"grows"}
            assert alerts[0]["labels"]["severity"] == "critical" and "verdict" not in alerts[0]["labels"]
            assert alerts[0]["startsAt"] < alerts[0]["endsAt"]
        target.close()
        assert memtrace.finish() == 0
        assert "startsAt" not in messages(receiver)[-1][-1]


def test_debians_alertmanager_hears_of_it_and_of_its_end(tmp_path):
    port = free_port()
    (tmp_path / "alertmanager.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n", encoding="utf-8")
    command = ["prometheus-alertmanager", f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/alertmanager"]
    url = f"http://127.0.0.1:{port}"

    def heard():
        return json.loads(get(url + "/api/v2/alerts")[2])

    with subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="], stderr=subprocess.DEVNULL) as server:
        try:
            with alerted(tmp_path, sink("alertmanager", url)) as (target, memtrace):
                (alert,) = wait_until(heard, "an alert")
                assert alert["labels"]["alertname"] == "grows" and alert["labels"]["pid"] == str(target.pid)
                assert "leak_" in alert["annotations"]["summary"] and alert["status"]["state"] == "active"
                target.close()
                assert memtrace.finish() == 0
                wait_until(lambda: not heard(), "its end")
        finally:
            server.kill()


def action(name, kind, more=""):
    return f'[[action]]\nname = "{name}"\ndo = "{kind}"\nmatch = {{ alert = "grows" }}\n{more}\n'


def test_what_is_done_is_logged_with_its_cause_and_its_outcome(tmp_path):
    got = tmp_path / "got"
    config = (
        action("tell", "command", f'command = ["sh", "-c", "cat > {got}"]')
        + action("fail", "command", 'command = ["sh", "-c", "echo no such luck >&2; exit 4"]')
        + action("keep", "snapshot")
        + action("ask", "cleanup")
        + action("back", "reclaim", 'bytes = "1MiB"')
        + action("think", "signal", 'signal = "KILL"\ndry_run = true')
        + action("end", "signal", 'signal = "TERM"')
    )
    snapshots = tmp_path / "snapshots"
    with alerted(tmp_path, config, "--snapshot-dir", snapshots, "--snapshot-interval", "1h") as (target, memtrace):
        memtrace.wait_said("action end (signal) because of firing grows (critical) of leak_rate")
        assert target.process.wait(60) == -signal.SIGTERM
        assert memtrace.finish() == 0
    said = dict.fromkeys(("tell", "fail", "keep", "ask", "back", "think", "end"))
    for line in memtrace.said.splitlines():
        if line.startswith("memtrace: action "):
            said[line.split()[2]] = line
    assert said["tell"].endswith(": done") and said["keep"].endswith(": done") and said["end"].endswith(": done")
    assert said["fail"].endswith("sh failed with status 4: no such luck")
    assert "has no probe memtrace:emergency_high" in said["ask"]
    assert said["think"].endswith(": a dry run, nothing is done")
    # Where the memory controller is one of cgroup v1, there is nothing to ask; where it is not, this program is not in its root.
    assert said["back"].endswith(": done") or "memory.reclaim" in said["back"] or "reclaim but a part" in said["back"]
    assert json.loads(got.read_text())["alerts"][0]["name"] == "grows"
    assert any(json.loads(path.read_text())["alerts"] for path in snapshots.glob("*.json"))
    assert memtrace.said.count("action tell") == 1, "its cooldown is not over"


def test_a_program_with_our_sdk_gives_memory_back_when_it_is_asked(tmp_path):
    config = """
[[alert]]
name = "many"
when = "resource-count"
at_least = 1
[[action]]
name = "ask"
do = "cleanup"
level = "critical"
match = { alert = "many" }
"""
    with alerted(tmp_path, config, target=("contract", [])) as (_, memtrace):
        memtrace.wait_said("action ask (cleanup) because of firing many (warning) of contract")
        report = memtrace.wait_report(lambda report: any(cleanup["ended"] for cleanup in report.get("cleanups", [])))
        assert report["cleanups"][-1]["level"] == "critical"
        memtrace.wait_said(": done")


def test_the_journal_gets_priorities(tmp_path):
    journal = ["sh", "-c", 'JOURNAL_STREAM=$(stat --dereference --format %d:%i /dev/stderr) exec "$@"', "sh"]
    with Target.start("holder", ["--bug", "double-release"]) as target:
        command = [*journal, MEMTRACE, "--pid", target.ready(), "--sample", "exact", "--interval", "500ms", "--output", "json", "--out", tmp_path / "report.json"]
        with Memtrace(command, tmp_path / "report.json") as memtrace:
            memtrace.wait_following()
            target.go()
            memtrace.wait_said("<4>memtrace: alert firing reference-error (warning) of holder")
            target.close()
            assert memtrace.finish() == 0
    assert "<5>memtrace: alert resolved reference-error (warning) of holder" in memtrace.said


def test_without_a_configuration_the_log_is_told(tmp_path):
    with ExitStack() as stack:
        target = stack.enter_context(Target.start("holder", ["--bug", "double-release"]))
        memtrace = stack.enter_context(Memtrace.attach(tmp_path, target.ready(), "--interval", "500ms"))
        target.go()
        memtrace.wait_said("alert firing reference-error (warning) of holder")
        memtrace.stop()


@pytest.mark.parametrize("text, said", [("[[alert]]\nname = 1", "alerts.toml:2: name is not a text"), ("[[alrt]]\nname = \"a\"", "alrt")])
def test_a_configuration_that_makes_no_sense_is_refused_before_anything_is_attached(tmp_path, text, said):
    path = tmp_path / "alerts.toml"
    path.write_text(text, encoding="utf-8")
    with Target.start("leak_rate", ["--rate", 10, "--duration", 600]) as target:
        with Memtrace.start(tmp_path, "--pid", target.ready(), "--config", path) as memtrace:
            assert memtrace.finish() == 1
            assert said in memtrace.said and "following" not in memtrace.said
