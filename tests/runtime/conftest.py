"""Settings of the surroundings are no part of a test; patched classes are forgotten after each."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    from adampatch.runtime import patching

    monkeypatch.setattr(patching, "_CLASSES", {})
    for name in ("EMIT", "EVERY", "RULES"):
        monkeypatch.delenv("ADAMPATCH_" + name, raising=False)


@pytest.fixture
def rules():
    """Makes the normal form of one rate rule."""

    def make(high=None, low=None, match=("**",), **observe):
        rule = {"id": "test", "match": list(match), "exclude": [], "optimizer": "*", "quantity": "rate"}
        return {"version": 1, "observe": observe, "rules": [dict(rule, min=low, max=high)]}

    return make
