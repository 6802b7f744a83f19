# SPDX-License-Identifier: Apache-2.0
"""suite.py [--results FILE] [--logs DIRECTORY] [--name NAME] [--seconds N] [--queue QUEUE TAKEN] DIRECTORY
            [PATTERN...]
suite.py --list DIRECTORY [PATTERN...]

Runs the unittest cases of DIRECTORY/test_*.py whose name contains a PATTERN, each in at most N seconds: a line
for each test, the reason of each failure, and with --results the outcomes for tests/run, all under NAME.

With --queue several processes share the tests out: a test is a file of the directory QUEUE with its name (--list has
them), and belongs to the process that moves it to its own directory TAKEN, from where it goes when it has ended. What
is there at the start was cut off, and comes first."""

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
        if not isinstance(test, unittest.TestCase):  # fixtures of a class, after whatever test
            self.started = time.monotonic()
            self.report("FAIL", test)
        elif not self.reported:
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


class Shared(unittest.TestSuite):
    """See --queue."""

    _cleanup = False  # of TestSuite's, which forgets tests by their place in an order that is not this one

    def __init__(self, tests, queue, taken):
        super().__init__(tests)
        self.queue = queue
        self.taken = taken
        self.classes = {}
        for test in tests:
            self.classes.setdefault(type(test), []).append(test)

    def take(self, test):
        """Whether no other process has it."""
        try:
            os.rename(os.path.join(self.queue, test.id()), os.path.join(self.taken, test.id()))
        except FileNotFoundError:
            return False
        return True

    def choose(self, current):
        """A test that nobody has taken, or None. Of the class that this process is at; or of one that nobody is at,
        as its fixtures cost time; or of the one with the most to do."""
        names = set(os.listdir(self.queue))
        left = {kind: [test for test in tests if test.id() in names] for kind, tests in self.classes.items()}

        def rank(kind):
            return kind is current, len(left[kind]) == len(self.classes[kind]), len(left[kind])

        kind = max((kind for kind in left if left[kind]), key=rank, default=None)
        return kind and left[kind][0]

    def __iter__(self):
        cut_off = set(os.listdir(self.taken))
        first = [test for test in self._tests if test.id() in cut_off]
        first += [test for test in self._tests if is_broken(test) and test not in first]
        for test in first:
            self.take(test)
            yield test
            self.done(test)
        test = self.choose(None)
        while test:
            if self.take(test):
                yield test
                self.done(test)
            test = self.choose(type(test))

    def done(self, test):
        try:
            os.unlink(os.path.join(self.taken, test.id()))
        except FileNotFoundError:  # it is broken here only
            pass


def forget_the_machine():
    """What the shell of whoever runs them may have set: the modes of what tests make, and proxies that do not lead back
    to this machine."""
    os.umask(0o022)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]


def on_alarm(_number, _frame):
    raise TimeoutError("the test took too long")


def main():
    # A shell without job control has what it starts in the background ignore them, and so all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    forget_the_machine()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results")
    parser.add_argument("--logs")
    parser.add_argument("--queue", nargs=2, metavar=("QUEUE", "TAKEN"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seconds", type=int, default=600)
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
    if arguments.list:
        print(*(test.id() for test in chosen), sep="\n")
        return 0 if chosen else 1
    suite = Shared(chosen, *arguments.queue) if arguments.queue else unittest.TestSuite(chosen)
    report = Report(arguments.name or os.path.basename(directory), arguments.results, arguments.seconds)
    suite.run(report)
    bad = len(report.failures) + len(report.errors)
    print(f"{report.ran} ran, {bad} failed", flush=True)
    return 0 if (report.ran or arguments.queue) and not bad else 1


sys.exit(main())
