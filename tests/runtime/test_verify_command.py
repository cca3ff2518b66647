"""`adampatch verify` on the TensorFlow that is installed, whatever its generation."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")


def test_the_command_is_green_and_its_report_is_complete():
    done = subprocess.run(
        [sys.executable, "-m", "adampatch", "verify", "--quick", "--case", "*.Adam*", "--format", "json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "adampatch/verify/1"
    assert document["environment"]["versions"]["tensorflow"] == tf.__version__
    families = {row["optimizer"] for row in document["cases"]}
    assert {"keras.optimizers.Adam", "tensorflow.compat.v1.train.AdamOptimizer"} <= families
    assert any(name.endswith("legacy.Adam") for name in families)
    assert {"what": "GPU", "reason": "none visible"} in document["not_verified"]
    unknown = {item["what"].removeprefix("the formula of ") for item in document["not_verified"]}
    for row in document["cases"]:
        assert row["verdict"] in ("PASS_BITWISE", "PASS_BOUND"), row
        assert row["optimizer"] in unknown or 0.5 < row["max_error_over_bound"] <= 1
        assert row["first_divergence"] is None
