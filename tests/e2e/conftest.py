"""The rules of the end-to-end suite: nothing is skipped, and nothing hangs.

A skip is a failure: this suite is the evidence that tracing works, and runs where all of it can. What lacks a package, a
privilege or a kernel feature is to be mended, or the test taken out, not passed over.

Each phase of a test (setup, call, teardown) has TIMEOUT_S seconds, or those of its mark `@pytest.mark.timeout(seconds)`. When
they are over the test fails where it stands, with its traceback, and the suite goes on. Where even that cannot interrupt it (in
a call that never returns to Python), all stacks are printed and the run ends.
"""

import contextlib
import faulthandler
import os
import signal

import pytest

TIMEOUT_S = 120
# From the alarm, which a test may be slow to obey, to the end of the run.
LAST_RESORT_S = 60


def _fail_instead_of_skip(report):
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: a skip, or an expected failure, is a failure in this suite: {reason}"
        vars(report).pop("wasxfail", None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    _fail_instead_of_skip(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    outcome = yield
    _fail_instead_of_skip(outcome.get_result())


def pytest_configure(config):
    # Capturing is under way and has taken descriptor 2: this is where the terminal is.
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        config.e2e_terminal = os.fdopen(os.dup(2), "w")


def pytest_unconfigure(config):
    faulthandler.cancel_dump_traceback_later()
    config.e2e_terminal.close()


@contextlib.contextmanager
def _time_limit(item, phase):
    mark = item.get_closest_marker("timeout")
    seconds = mark.args[0] if mark else TIMEOUT_S

    def on_alarm(signum, frame):
        pytest.fail(f"{phase} took longer than {seconds} s", pytrace=True)

    previous = signal.signal(signal.SIGALRM, on_alarm)
    faulthandler.dump_traceback_later(seconds + LAST_RESORT_S, exit=True, file=item.config.e2e_terminal)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    with _time_limit(item, "setup"):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with _time_limit(item, "the test"):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    with _time_limit(item, "teardown"):
        yield
