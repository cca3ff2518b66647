"""A patched notebook on real TensorFlow: its cells, run in order in one namespace, train as stock does,
show their rates and obey rules."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ROOT / "tests" / "fixtures" / "notebooks" / "training" / "before.ipynb"

# A kernel: cells of other languages and magics dropped, the rest run one after the other.
KERNEL = r"""
import json, re, sys
sys.path.insert(0, "")
MAGIC = re.compile(r"^(?:[ \t]*[%!]|\w+ = !|\w+\?).*(?:(?<=\\)\n.*)*$", re.MULTILINE)
namespace = {"__name__": "__main__"}
for cell in json.load(open("train.ipynb", encoding="utf-8"))["cells"]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "code" and not source.startswith("%%bash"):
        exec(compile(MAGIC.sub("", source), "cell", "exec"), namespace)
found = {name: [w.tobytes().hex() for w in namespace[name]] for name in ("forked", "stock")}
if "_adampatch" in namespace:
    rates = namespace["_adampatch"].effective_rates
    found["rates"] = [float(r.max()) for o in (namespace["fork"], namespace["model"].optimizer)
                      for r in rates(o).values()]
print(json.dumps(found))
"""


def command(*words, cwd):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADAMPATCH_")}
    environment.update(
        ADAMPATCH_EMIT="tensor",
        CUDA_VISIBLE_DEVICES="-1",
        KERAS_BACKEND="tensorflow",
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONPATH=str(ROOT),
    )
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def trained(folder):
    return json.loads(command("-c", KERNEL, cwd=folder).splitlines()[-1])


def test_a_patched_notebook_trains_as_stock_shows_rates_and_obeys_rules(tmp_path):
    path = tmp_path / "train.ipynb"
    shutil.copy(TRAINING, path)
    stock = trained(tmp_path)
    assert "rates" not in stock

    command("-m", "adampatch", "apply", path, cwd=tmp_path)
    patched = trained(tmp_path)
    assert {name: patched[name] for name in stock} == stock
    assert len(patched["rates"]) == 4  # kernel and bias, of the fork and of "adam"
    assert min(patched["rates"]) > 1e-3

    rules = tmp_path / "rules.toml"
    rules.write_text('version = 1\n\n[[rule]]\nid = "low"\nmatch = ["**"]\nquantity = "rate"\nmax = 1e-3\n')
    command("-m", "adampatch", "apply", path, "--rules", rules, cwd=tmp_path)
    bounded = trained(tmp_path)
    assert max(bounded["rates"]) <= 1e-3 * (1 + 1e-6)  # float32
    assert all(bounded[name] != stock[name] for name in stock)

    command("-m", "adampatch", "revert", tmp_path, cwd=tmp_path)
    assert path.read_bytes() == TRAINING.read_bytes()
