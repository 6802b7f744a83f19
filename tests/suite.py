# SPDX-License-Identifier: Apache-2.0
"""suite.py [--results FILE] [--logs DIRECTORY] [--name NAME] [--after TEST] [--seconds N] DIRECTORY
            [PATTERN...]

Runs the unittest cases of DIRECTORY/test_*.py whose name contains a PATTERN, and only those that come
after TEST, each in at most N seconds: a line for each test, the reason of each failure, and with --results the outcomes for
tests/run, all under NAME."""

import argparse
import os
import signal
import sys
import time
import traceback
import unittest

class Report(unittest.TestResult):
    def __init__(self, suite, results, seconds_max):
        super().__init__()
        self.suite = suite
        self.seconds_max = seconds_max
        self.results = results
        self.ran = 0
        self.started = 0.0
        self.reported = False

    def name(self, test):
        parts = test.id().split(".")
        return f"{self.suite}/{'.'.join(parts[-2:]) if parts[0].startswith('test_') else test.id()}"

    def report(self, outcome, test, detail=""):
        seconds = time.monotonic() - self.started
        print(f"{outcome:4} {self.name(test)}{detail} ({seconds:.1f} s)", flush=True)
        self.reported = True
        self.ran += 1
        if self.results:
            with open(self.results, "a", encoding="utf-8") as out:
                out.write(f"{outcome}\t{self.name(test)}{detail}\n")

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.reported = False
        signal.alarm(self.seconds_max)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.report("pass", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.report("skip", test, f": {reason}")

    def failed(self, test, err):
        if not self.reported:
            self.report("FAIL", test)
        trace = traceback.TracebackException(*err)
        trace.stack = traceback.StackSummary.from_list(
            [frame for frame in trace.stack if "/unittest/" not in frame.filename])
        text = "".join(trace.format(chain=False))
        print("".join(f"        | {line}\n" for line in text.splitlines()[-60:]), end="", flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.failed(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            print(f"        | in {subtest.id()}")
            self.failed(test, err)


def is_broken(test):
    """What stands for a file that cannot be imported: whichever tests were asked for may be in it."""
    return test.id().startswith("unittest.loader._FailedTest")


def selected(tests, patterns):
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from selected(test, patterns)
        elif not patterns or is_broken(test) or any(pattern in test.id() for pattern in patterns):
            yield test


def on_alarm(_number, _frame):
    raise TimeoutError("the test took too long")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results")
    parser.add_argument("--logs")
    parser.add_argument("--after", metavar="TEST")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("directory")
    parser.add_argument("--name")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    arguments = parser.parse_args()

    directory = os.path.abspath(arguments.directory)
    sys.path[:0] = [directory, os.path.join(os.path.dirname(os.path.abspath(__file__)), "integration")]
    if arguments.logs:
        os.environ["WLAGENT_TEST_LOGS"] = os.path.abspath(arguments.logs)
    signal.signal(signal.SIGALRM, on_alarm)

    tests = unittest.TestLoader().discover(directory, top_level_dir=directory)
    chosen = list(selected(tests, arguments.patterns))
    if arguments.after:
        chosen = chosen[[test.id() for test in chosen].index(arguments.after) + 1:]
    suite = unittest.TestSuite(chosen)
    report = Report(arguments.name or os.path.basename(directory), arguments.results, arguments.seconds)
    suite.run(report)
    bad = len(report.failures) + len(report.errors)
    print(f"{report.ran} ran, {bad} failed", flush=True)
    return 0 if (report.ran or arguments.after) and not bad else 1


sys.exit(main())
