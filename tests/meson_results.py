# SPDX-License-Identifier: Apache-2.0
"""meson_results.py TESTLOG NAME RESULTS: prints a line for each test that meson ran, the end of the
output of those that failed, and appends the outcomes to RESULTS. Exit code 1 when none ran."""

import json
import sys

OUTCOMES = {"OK": "pass", "EXPECTEDFAIL": "pass", "SKIP": "skip"}
TAIL_LINES = 40


def main():
    log, prefix, results = sys.argv[1:]
    try:
        with open(log, encoding="utf-8") as lines:
            tests = [json.loads(line) for line in lines]
    except FileNotFoundError:
        tests = []
    with open(results, "a", encoding="utf-8") as out:
        for test in tests:
            outcome = OUTCOMES.get(test["result"], "FAIL")
            name = f"{prefix}/{test['name'].split(' / ')[-1]}"
            out.write(f"{outcome}\t{name}\n")
            print(f"{outcome:4} {name} ({test['duration']:.1f} s)", flush=True)
            if outcome == "FAIL":
                print(f"        | {test['result']}, exit code {test['returncode']}")
                output = (test.get("stdout") or "") + (test.get("stderr") or "")
                for line in output.splitlines()[-TAIL_LINES:]:
                    print(f"        | {line}")
    return 0 if tests else 1


sys.exit(main())
