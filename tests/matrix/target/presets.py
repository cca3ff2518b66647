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
        for words in asked:
            name, _, mode = words.partition(":")
            for case, make in importlib.import_module(name).CASES.items():
                key = "|".join([os.path.splitext(os.path.basename(rules))[0], case, mode])
                try:
                    recorded = training.MODES[mode](make, steps, ("float32",))
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
