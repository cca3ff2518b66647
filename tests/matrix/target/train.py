"""Trains each optimizer of some modules in each mode that its family has; writes what came out.

python train.py OUT STEPS MODULE:MODE,MODE ...
"""

import importlib
import json
import sys
import traceback

import numpy as np
import training


def main(out, steps, asked):
    training.prepare()
    arrays, facts = {}, {}
    for words in asked:
        name, _, modes = words.partition(":")
        module = importlib.import_module(name)
        float32_only = getattr(module, "FLOAT32_ONLY", ())
        for case, make in module.CASES.items():
            dtypes = training.DTYPES[: 1 if case in float32_only else None]
            for mode in modes.split(","):
                key = case + "|" + mode
                try:
                    recorded = training.MODES[mode](make, steps, dtypes)
                except Exception:
                    facts[key] = {"error": traceback.format_exc()}
                    continue
                arrays.update({key + "|" + part: value for part, value in recorded.arrays().items()})
                facts[key] = recorded.facts
    np.savez(out + ".npz", **arrays)
    with open(out + ".json", "w") as stream:
        json.dump(facts, stream)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
