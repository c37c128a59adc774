"""The rules of the end-to-end suite: nothing is skipped, and nothing hangs.

A skip is a failure: this suite is the evidence that tracing works, and runs where all of it can. What lacks a package, a
privilege or a kernel feature is to be mended, or the test taken out, not passed over.

Each phase of a test (setup, call, teardown) has TIMEOUT_S seconds, or those of its mark `@pytest.mark.timeout(seconds)`. When
they are over the test fails where it stands, with its traceback, and the suite goes on. Where even that cannot interrupt it (in
a call that never returns to Python), all stacks are printed and the run ends.
"""

import contextlib
import ctypes
import faulthandler
import os
import signal
import threading

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

    def fail():
        pytest.fail(f"{phase} took longer than {seconds} s", pytrace=True)

    faulthandler.dump_traceback_later(seconds + LAST_RESORT_S, exit=True, file=item.config.e2e_terminal)
    try:
        with _alarm_by_signal(seconds, fail) if threading.current_thread() is threading.main_thread() else _alarm_by_timer(seconds):
            yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _alarm_by_signal(seconds, fail):
    previous = signal.signal(signal.SIGALRM, lambda signum, frame: fail())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def _alarm_by_timer(seconds):
    """Where tests run in another thread, which gets no signals: a worker of pytest-xdist that is slow to start puts them there."""
    thread = ctypes.c_ulong(threading.get_ident())
    timer = threading.Timer(seconds, lambda: ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeoutError)))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
