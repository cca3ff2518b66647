"""Trains under each of some rules files, JSON, in one process; writes what each did, and stock's weights.

    python presets.py OUT STEPS RULES,RULES... MODULE:MODE ...

Settings are read when an optimizer first steps, so that one process can try several.
"""

import importlib
import json
import os
import sys
import traceback

import numpy as np
import training


def main(out, steps, files, asked):
    training.prepare()
    arrays, facts = {}, {}
    for rules in files.split(","):
        os.environ["ADAMPATCH_RULES"] = rules
        os.environ["ADAMPATCH_EMIT"] = "tensor"
        os.environ["ADAMPATCH_EVERY"] = "1"
        for words in asked:
            name, _, mode = words.partition(":")
            module = importlib.import_module(name)
            float32_only = getattr(module, "FLOAT32_ONLY", ())
            for case, make in module.CASES.items():
                dtypes = training.DTYPES[: 1 if case in float32_only else None]
                key = "|".join([os.path.splitext(os.path.basename(rules))[0], case, mode])
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
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
