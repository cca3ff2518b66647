"""Trains under each of some rules files, JSON, in one process; writes what each did.

    python presets.py OUT STEPS RULES,RULES... MODULE:MODE ...

Settings are read when an optimizer first steps, so that one process can try several.
"""

import os
import sys

import train
import training


def main(out, steps, files, asked):
    training.prepare()
    trainings = train.Trainings()
    os.environ["ADAMPATCH_EMIT"] = "tensor"
    os.environ["ADAMPATCH_EVERY"] = "1"
    for rules in files.split(","):
        os.environ["ADAMPATCH_RULES"] = rules
        trainings.add(steps, asked, os.path.splitext(os.path.basename(rules))[0] + "|")
    trainings.write(out)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
