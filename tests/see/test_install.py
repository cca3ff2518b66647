"""`adampatch.install()`: stock classes are patched in place, and put back."""

import pickle
import sys
import threading
from types import FunctionType

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import adampatch

pytestmark = pytest.mark.tensorflow
STOCK = {
    "keras": keras.optimizers.Adam,
    "tf_keras": tf_keras.optimizers.Adam,
    "legacy": tf_keras.optimizers.legacy.Adam,
    "v1": tf.compat.v1.train.AdamOptimizer,
}


def form(high):
    rule = {"id": "test", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate"}
    return {"version": 1, "observe": {}, "rules": [dict(rule, min=None, max=high)]}


@pytest.fixture(autouse=True)
def nothing_left():
    def methods(cls):
        return {k: v for k, v in vars(cls).items() if isinstance(v, FunctionType) or "adampatch" in k}

    before = {cls: methods(cls) for cls in STOCK.values()}
    yield
    adampatch.uninstall()
    assert {cls: methods(cls) for cls in before} == before


def trained(make, steps=3):
    """The variable after some updates with the optimizer that `make` gives, in eager mode."""
    variable = tf.Variable([1.0, -2.0, 3.0], name="w")
    optimizer = make()
    for step in range(steps):
        gradient = tf.constant([0.1, -1e-6, 2.0]) * (step + 1)
        optimizer.apply_gradients([(gradient, variable)])
    return optimizer, variable.numpy()


@pytest.mark.parametrize("family", sorted(STOCK))
def test_stock_instances_are_seen_bounded_and_stock_again(family):
    cls = STOCK[family]
    _, stock = trained(lambda: cls(1e-2))
    with adampatch.install():
        optimizer, seen = trained(lambda: cls(1e-2))
        assert type(optimizer) is cls
        assert adampatch.snapshot(optimizer)["step"] == 1
    np.testing.assert_array_equal(seen, stock)
    with adampatch.install(rules=form(1e-3)):
        optimizer, bounded = trained(lambda: cls(1e-2))
        assert adampatch.snapshot(optimizer)["variables"]["w"]["clamped_frac"] > 0
    assert (bounded != stock).any()
    again, after = trained(lambda: cls(1e-2))
    np.testing.assert_array_equal(after, stock)
    with pytest.raises(adampatch.NotYetAvailable):
        adampatch.snapshot(again)


def test_strings_subclasses_and_pickles_need_nothing_special():
    with adampatch.install(rules=form(1e-3)):

        class Mine(keras.optimizers.AdamW):
            pass

        made = keras.optimizers.get("adam")
        assert type(made) is keras.optimizers.Adam
        copied = pickle.loads(pickle.dumps(made))
        config = keras.optimizers.deserialize(keras.optimizers.serialize(made))
        for optimizer in (made, Mine(1e-2), copied, config):
            optimizer, _ = trained(lambda found=optimizer: found)
            assert adampatch.snapshot(optimizer)["variables"]["w"]["clamped_frac"] > 0


def test_an_instance_made_before_is_patched_as_well():
    optimizer = keras.optimizers.Adam(1e-2)
    adampatch.install()
    trained(lambda: optimizer)
    assert adampatch.snapshot(optimizer)["step"] == 1


def test_a_second_install_changes_nothing_and_ends_nothing():
    with adampatch.install():
        patched = keras.optimizers.Adam.update_step
        with adampatch.install():
            assert keras.optimizers.Adam.update_step is patched
        assert keras.optimizers.Adam.update_step is patched
        with pytest.raises(ValueError, match="other rules are installed already"):
            adampatch.install(rules=form(1.0))
    assert keras.optimizers.Adam.update_step is not patched
    adampatch.uninstall()


def test_threads_may_install_at_once():
    ready, found = threading.Barrier(8), []

    def work():
        ready.wait()
        adampatch.install()
        found.append(keras.optimizers.Adam.update_step)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len([f for f in sys.meta_path if type(f).__module__.startswith("adampatch")]) == 1


def test_patched_of_an_installed_class_is_that_class_and_a_subclass_gets_its_own_update_patched():
    with adampatch.install():
        assert adampatch.patched(keras.optimizers.Adam) is keras.optimizers.Adam
        made = adampatch.patched("adam")
        assert type(made) is keras.optimizers.Adam
        assert adampatch.patched(Halved) is not Halved
        optimizer, _ = trained(lambda: adampatch.patched(Halved, rules=form(1e-3))(1e-2))
        assert adampatch.snapshot(optimizer)["variables"]["w"]["clamped_frac"] > 0


class Halved(keras.optimizers.Adam):
    """An update of its own."""

    def update_step(self, gradient, variable, learning_rate):
        m = self._momentums[self._get_variable_index(variable)]
        v = self._velocities[self._get_variable_index(variable)]
        self.assign_add(m, (gradient - m) * 0.1)
        self.assign_add(v, (keras.ops.square(gradient) - v) * 0.01)
        self.assign_sub(variable, 0.5 * learning_rate * m / (keras.ops.sqrt(v) + 1e-7))


def test_rules_that_cannot_be_read_are_refused_before_anything_changes():
    before = keras.optimizers.Adam.update_step
    with pytest.raises(ValueError, match="max"):
        adampatch.install(rules=form("much"))
    assert keras.optimizers.Adam.update_step is before


def test_modules_of_the_project_are_rewritten_as_they_are_imported(tmp_path, monkeypatch):
    (tmp_path / "myproject").mkdir()
    (tmp_path / "myproject" / "__init__.py").write_text("")
    (tmp_path / "myproject" / "optimizers.py").write_text(OWN)
    (tmp_path / "other.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    with adampatch.install(modules="myproject.*"):
        import other
        from myproject.optimizers import Own

        optimizer, seen = trained(lambda: Own(1e-2))
        assert adampatch.snapshot(optimizer)["step"] == 1
        own, stock = trained(lambda: other.Own(1e-2))
        np.testing.assert_array_equal(seen, stock)
        with pytest.raises(adampatch.NotYetAvailable):
            adampatch.snapshot(own)


OWN = """\
import keras


class Own(keras.optimizers.Optimizer):
    def build(self, variables):
        super().build(variables)
        self._m = [self.add_variable_from_reference(v, name="m") for v in variables]
        self._v = [self.add_variable_from_reference(v, name="v") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        i = self._get_variable_index(variable)
        m, v = self._m[i], self._v[i]
        self.assign_add(m, (gradient - m) * 0.1)
        self.assign_add(v, (keras.ops.square(gradient) - v) * 0.01)
        self.assign_sub(variable, learning_rate * m / (keras.ops.sqrt(v) + 1e-7))
"""
