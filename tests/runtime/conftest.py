"""Puts the hand-rewritten methods where `patched()` looks for the tool side, for every test here."""

import os
import sys
import types

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """The stand-in for `adampatch.rewrite.live`; classes patched through it are forgotten afterwards.

    ADAMPATCH_TEST_LIVE=1 runs the same tests over the real one.
    """
    import rewritten_by_hand

    from adampatch.runtime import patching

    monkeypatch.setattr(patching, "_CLASSES", {})
    for name in ("EMIT", "EVERY", "RULES"):
        monkeypatch.delenv("ADAMPATCH_" + name, raising=False)
    if os.environ.get("ADAMPATCH_TEST_LIVE"):
        return None
    package = sys.modules.get("adampatch.rewrite")
    if package is None:
        package = types.ModuleType("adampatch.rewrite")
        package.__path__ = []
        monkeypatch.setitem(sys.modules, "adampatch.rewrite", package)
    monkeypatch.setitem(sys.modules, "adampatch.rewrite.live", rewritten_by_hand)
    monkeypatch.setattr(package, "live", rewritten_by_hand, raising=False)
    return rewritten_by_hand


@pytest.fixture
def rules():
    """Makes the normal form of one rate rule."""

    def make(high=None, low=None, match=("**",), **observe):
        rule = {"id": "test", "match": list(match), "exclude": [], "optimizer": "*", "quantity": "rate"}
        return {"version": 1, "observe": observe, "rules": [dict(rule, min=low, max=high)]}

    return make
