# SPDX-License-Identifier: Apache-2.0
"""tests/bench/run: a target that was missed is no success, whoever reads the result."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import types
import unittest

import running

BENCH = os.path.join(running.TOP, "tests", "bench")


def load():
    sys.path.append(BENCH)
    try:
        loader = importlib.machinery.SourceFileLoader("bench_run", os.path.join(BENCH, "run"))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", loader))
        loader.exec_module(module)
        return module
    finally:
        sys.path.remove(BENCH)


class BenchRun(unittest.TestCase):
    def told(self, text, as_json):
        benchmark = types.SimpleNamespace(show=lambda result: print(f"{result['keys']} keys: {text}"))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = load().tell(benchmark, {"keys": 300}, as_json)
        return code, out.getvalue()

    def test_exit_status(self):
        for text, code in (("good", 0), ("MISSED", 1), ("MISSED\n  others: good", 1), ("no target", 0)):
            with self.subTest(text=text):
                self.assertEqual(self.told(text, False), (code, f"300 keys: {text}\n"))
                code_of_json, out = self.told(text, True)
                self.assertEqual((code_of_json, json.loads(out)), (code, {"keys": 300}))

    def benchmark(self, name):
        sys.path.append(BENCH)
        self.addCleanup(sys.path.remove, BENCH)
        return importlib.import_module(name)

    def test_the_encryption_says_so(self):
        """Of each of its targets; CPU seconds are the processor's, and nobody's fault."""
        image = self.benchmark("image")
        good = {"cpu": 9.0, "cpu_over_openssl": 1.1, "cpu_over_openssl_no_seal": 1.1, "cpu_over_qemu_img": 11,
                "wall_over_qemu_img": 3, "wall_over_copy": 0.9, "rss_mib": 32, "sparse_over_dense": 1.5}
        for name, other in ((None, None), ("cpu_over_qemu_img", 10.9), ("wall_over_copy", 0.89), ("rss_mib", 32.1),
                            ("sparse_over_dense", 1.51)):
            with self.subTest(name=name), contextlib.redirect_stdout(io.StringIO()) as out:
                result = {"gib": 1, "sparse_gib": 100, "rounds": 3, "figures": {}, "ratios": {**good, name: other}}
                code = load().tell(image, result, False)
            self.assertEqual((code, out.getvalue().count("MISSED")), (1, 1) if name else (0, 0), name)

    def test_the_herd_says_so(self):
        herd = self.benchmark("herd")
        self.assertEqual([herd.verdict(good) for good in (True, False)], ["good", "MISSED"])


if __name__ == "__main__":
    unittest.main()
