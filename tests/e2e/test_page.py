"""The page of --listen in a real browser: what an operator sees of a leak, and that nothing on it is refused by the page's own policy."""

import re
import subprocess

from listening import served_url, wait_until
from memtrace_runner import Memtrace
from targets import Target

BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr"]  # fmt: skip


def opened(tmp_path, url):
    """(the page as the browser has it after loading, what the page's console was told)."""
    command = [*BROWSER, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def test_the_page_shows_the_leak_its_curve_and_its_alert(tmp_path):
    config = tmp_path / "alerts.toml"
    config.write_text('[[alert]]\nname = "<b>much"\nwhen = "live-bytes"\nat_least = "1KiB"\nseverity = "critical"\n', encoding="utf-8")
    options = ["--listen", "127.0.0.1:0", "--interval", "300ms", "--sample", "exact", "--config", config]
    with Target.start("leak_rate", ["--rate", 2_000_000, "--duration", 600]) as target, Memtrace.attach(tmp_path, target.ready(), *options) as memtrace:
        target.go()
        memtrace.wait_report(lambda report: any(alert["state"] == "firing" for alert in report["alerts"]))

        def shown():
            page, console = opened(tmp_path, served_url(memtrace) + "?hold")
            assert not console, console
            points = re.findall(r'<polyline class="(\w+)" points="([^"]*)"', page)
            return page if {name for name, at in points if len(at.split()) >= 2} == {"live", "rss"} else None

        page = wait_until(shown, "a curve")
    assert "&lt;b&gt;much</span>" in page and "<b>much" not in page
    assert "leak_steadily" in page and "Call sites" in page
