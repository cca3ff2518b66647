"""Trains each optimizer of some modules in each mode that its family has; writes what came out.

python train.py OUT STEPS MODULE:MODE,MODE ...
"""

import importlib
import json
import sys
import traceback

import numpy as np
import training


class Trainings(object):
    """What came out of many: arrays and facts, by "case|mode"."""

    def __init__(self):
        self.arrays, self.facts = {}, {}

    def add(self, steps, asked, prefix=""):
        """Trains what is `asked` for; `prefix` goes before the keys."""
        for words in asked:
            name, _, modes = words.partition(":")
            module = importlib.import_module(name)
            float32_only = getattr(module, "FLOAT32_ONLY", ())
            for case, make in module.CASES.items():
                dtypes = training.DTYPES[: 1 if case in float32_only else None]
                for mode in modes.split(","):
                    self._add(prefix + case + "|" + mode, training.MODES[mode], make, steps, dtypes)

    def _add(self, key, mode, make, steps, dtypes):
        try:
            recorded = mode(make, steps, dtypes)
        except Exception:
            self.facts[key] = {"error": traceback.format_exc()}
            return
        self.arrays.update({key + "|" + part: value for part, value in recorded.arrays().items()})
        self.facts[key] = recorded.facts

    def write(self, out):
        np.savez(out + ".npz", **self.arrays)
        with open(out + ".json", "w") as stream:
            json.dump(self.facts, stream)


def main(out, steps, asked):
    training.prepare()
    trainings = Trainings()
    trainings.add(steps, asked)
    trainings.write(out)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
