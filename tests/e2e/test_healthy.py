"""Real databases under load are not called leaking. The half hour that tests/bench/healthy.py takes by hand, cut to half a minute."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import healthy  # noqa: E402

SECONDS = 30


@pytest.mark.parametrize("database", sorted(healthy.LOADS))
def test_no_site_of_a_healthy_database_is_called_a_leak(database):
    with healthy.LOADS[database]() as load:
        reports = healthy.watch(load.pids(), SECONDS, "exact")
    assert len(reports) >= 2
    assert any(site["live_bytes"] for report in reports for site in report["sites"]), "nothing of it was seen"
    found = healthy.blamed(reports)
    assert not found, "\n".join(healthy.describe(*blame) for blame in found)
