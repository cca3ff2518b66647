"""patched(x): classes, instances, names, configs, refusals; and what importing costs."""

import functools
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")


@pytest.fixture
def binding():
    from adampatch.runtime import bind

    return bind()


def test_a_class_gives_the_same_subclass_each_time(binding):
    ours = binding.patched(keras.optimizers.Adam)
    assert ours is binding.patched(keras.optimizers.Adam) is binding.patched(ours)
    assert issubclass(ours, keras.optimizers.Adam) and isinstance(ours(), keras.optimizers.Adam)
    stock = keras.optimizers.Adam
    assert (ours.__name__, ours.__qualname__, ours.__module__) == (
        stock.__name__, stock.__qualname__, stock.__module__,
    )  # fmt: skip
    assert ours.__doc__ == stock.__doc__


def test_adamw_keeps_its_place_above_the_rewritten_method(binding):
    ours = binding.patched(keras.optimizers.AdamW)
    names = [c.__name__ for c in ours.__mro__[:4]]
    assert names == ["AdamW", "AdamW", "PatchedAdam", "Adam"]


def test_adamw_decay_is_not_skipped(binding, rules):
    from adampatch.runtime import bind

    for bound, step in ((None, 0.1), (0.0, 0.0)):
        opt = bind(None if bound is None else rules(high=bound)).patched(keras.optimizers.AdamW)(
            0.1, weight_decay=0.5
        )
        w = keras.Variable(np.full(3, 2.0, "f"), name="w")
        opt.apply([tf.ones(3)], [w])
        assert np.allclose(w.numpy(), 2.0 - 2.0 * 0.5 * 0.1 - step, atol=1e-6)


def test_a_mixin_above_still_runs(binding):
    calls = []

    class Mixin:
        def update_step(self, gradient, variable, learning_rate):
            calls.append("mixin")
            super().update_step(gradient, variable, learning_rate)

    class Mine(Mixin, keras.optimizers.Adam):
        pass

    from adampatch import snapshot

    opt = binding.patched(Mine)(0.1)
    opt.apply([tf.ones(3)], [keras.Variable(np.ones(3, "f"), name="w")])
    assert calls == ["mixin"] and snapshot(opt)["step"] == 1


@pytest.mark.parametrize(
    "what", ["adam", "AdamW", "NADAM", {"class_name": "Adamax", "config": {"learning_rate": 0.5}}]
)
def test_names_and_configs_give_instances(binding, what):
    opt = binding.patched(what)
    name = what if isinstance(what, str) else what["class_name"]
    assert type(opt).__name__.lower() == name.lower()
    assert type(opt) is binding.patched(getattr(keras.optimizers, type(opt).__name__))
    if isinstance(what, dict):
        assert what["class_name"] == "Adamax" and float(opt.learning_rate) == 0.5


def test_an_instance_is_switched_in_place(binding):
    opt = keras.optimizers.Adam(0.25, name="mine")
    before = dict(vars(opt))
    assert binding.patched(opt) is opt and opt.name == "mine"
    assert type(opt) is binding.patched(keras.optimizers.Adam)
    assert vars(opt).keys() == before.keys()


def test_a_wrapper_is_opened(binding):
    wrapper = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1))
    assert binding.patched(wrapper) is wrapper
    assert type(wrapper.inner_optimizer) is binding.patched(keras.optimizers.Adam)


def test_users_subclass_of_a_patched_class(binding):
    from adampatch import snapshot

    class Mine(binding.patched(keras.optimizers.Adam)):
        pass

    assert binding.patched(Mine) is Mine
    opt = Mine(0.1)
    opt.apply([tf.ones(3)], [keras.Variable(np.ones(3, "f"), name="w")])
    assert snapshot(opt)["step"] == 1


def test_a_class_that_replaces_the_patched_method_is_warned_of(binding, monkeypatch):
    from adampatch.runtime import records

    class Replacing(keras.optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, learning_rate * gradient)

    monkeypatch.setattr(records, "_WARNED", set())
    opt, w = binding.patched(Replacing)(0.5), keras.Variable(np.ones(3, "f"), name="w")
    with pytest.warns(
        RuntimeWarning, match="update of Replacing .* came to nothing that is patched"
    ) as caught:
        opt.apply([tf.ones(3)], [w]), opt.apply([tf.ones(3)], [w])
    assert len(caught) == 1 and (w.numpy() == 0).all()


class LaPropLike(keras.optimizers.Optimizer):
    """The normaliser is inside the first moment: there is no rate to bound."""

    def build(self, variables):
        super().build(variables)
        self.m, self.v = self.add_optimizer_variables(variables, ["m", "v"])

    def update_step(self, gradient, variable, learning_rate):
        from keras import ops

        index = self._get_variable_index(variable)
        m, v = self.m[index], self.v[index]
        self.assign(v, 0.999 * v + 0.001 * ops.square(gradient))
        self.assign(m, 0.9 * m + 0.1 * gradient / (ops.sqrt(v) + 1e-7))
        self.assign_sub(variable, learning_rate * m)


def test_what_is_no_adam_and_what_is_refused_say_so(binding):
    with pytest.raises(ValueError, match="SGD has no Adam-family update"):
        binding.patched(keras.optimizers.SGD)
    with pytest.raises(ValueError, match=r"LaPropLike cannot be patched: AP204: .*the normaliser is inside"):
        binding.patched(LaPropLike)


def without_tool_side(monkeypatch):
    import adampatch.rewrite.live  # noqa: F401, so that there is something to take away

    monkeypatch.setitem(sys.modules, "adampatch.rewrite.live", None)
    monkeypatch.delattr(sys.modules["adampatch.rewrite"], "live", raising=False)


def test_stock_classes_need_no_tool_side(monkeypatch):
    from adampatch.runtime import bind

    without_tool_side(monkeypatch)
    rules = {"version": 1, "rules": [{"id": "r", "match": ["**"], "quantity": "rate", "max": 0.25}]}
    for name in ("Adam", "AdamW", "Nadam", "Adamax", "Lamb"):
        stock = getattr(keras.optimizers, name)
        assert bind(rules, __name__ + ".no_tool_side").patched(stock) is not stock


def test_without_the_tool_side_the_error_says_what_to_do(monkeypatch):
    from adampatch.runtime import bind

    without_tool_side(monkeypatch)
    with pytest.raises(RuntimeError, match=r"LaPropLike is no stock class of a known version.*pip install"):
        bind(None, __name__ + ".unknown").patched(LaPropLike)


def test_without_the_tool_side_what_only_run_time_tells_stays_as_it_is(monkeypatch):
    from adampatch.runtime import bind, records

    without_tool_side(monkeypatch)
    monkeypatch.setattr(records, "_WARNED", set())
    binding = bind(None, __name__ + ".perhaps")
    with pytest.warns(RuntimeWarning, match=r"LaPropLike.*stays as it is"):
        assert binding.patched(LaPropLike, strict=False) is LaPropLike
    assert binding.patched(keras.optimizers.SGD, strict=False) is keras.optimizers.SGD


class Averaging:
    """A user's own wrapper, with an update method that no table knows."""

    def __init__(self, inner):
        self.inner = inner

    def apply_gradients(self, grads_and_vars):
        return self.inner.apply_gradients(grads_and_vars)


def test_without_the_tool_side_wrappers_are_opened(monkeypatch):
    from adampatch.runtime import bind

    without_tool_side(monkeypatch)
    wrapper = bind(None, __name__ + ".wrapper").patched(Averaging(keras.optimizers.Adam()))
    assert type(wrapper) is Averaging
    assert type(wrapper.inner) is not keras.optimizers.Adam


def test_bad_settings_are_refused_at_once(binding):
    with pytest.raises(ValueError, match=r"patched\(emit=\): emit is 'all'; use one of"):
        binding.patched(keras.optimizers.Adam, emit="all")
    with pytest.raises(ValueError, match=r"patched\(every=\): every is 0"):
        binding.patched(keras.optimizers.Adam(), every=0)


def test_no_keras_on_another_backend(binding, monkeypatch):
    import keras.src.backend as backend

    from adampatch.runtime import records

    monkeypatch.setattr(records, "_WARNED", set())
    monkeypatch.setattr(backend, "backend", lambda: "jax")
    with pytest.warns(RuntimeWarning, match="Keras runs on jax"):
        assert binding.patched(keras.optimizers.Adam) is keras.optimizers.Adam


def test_public_names():
    import adampatch
    from adampatch import optimizers
    from adampatch import v1 as ours_v1

    assert optimizers.Adam is adampatch.patched(keras.optimizers.Adam)
    assert issubclass(ours_v1.AdamOptimizer, tf.compat.v1.train.AdamOptimizer)
    assert adampatch.__version__ == "0.1.0"
    with pytest.raises(AttributeError):
        _ = adampatch.nothing


def test_importing_and_binding_import_no_tensorflow():
    program = (
        "import sys, adampatch, adampatch.runtime, adampatch.v1, adampatch.optimizers\n"
        "b = adampatch.runtime.bind({'version': 1, 'rules': []}); b.step, b.fused, b.observed\n"
        "b.patched, adampatch.patched\n"
        "adampatch.snapshot, adampatch.effective_rates, adampatch.NotYetAvailable\n"
        "print([m for m in ('tensorflow', 'keras', 'libcst', 'gast') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_not_strict_gives_back_what_holds_no_adam(binding):
    sgd = keras.optimizers.SGD()
    config = {"class_name": "SGD", "config": {}}
    for other in (sgd, keras.optimizers.RMSprop, "sgd", "no such optimizer", config, {}, None, 3, len):
        assert binding.patched(other, strict=False) is other
    assert type(sgd) is keras.optimizers.SGD
    for bad in (keras.optimizers.SGD, "sgd"):
        with pytest.raises(ValueError, match="no Adam-family update"):
            binding.patched(bad)


def test_not_strict_patches_every_adam(binding):
    ours = binding.patched(keras.optimizers.Adam)
    assert binding.patched(keras.optimizers.Adam, strict=False) is ours
    assert type(binding.patched("ADAM", strict=False)) is ours
    made = keras.optimizers.Adam()
    assert binding.patched(made, strict=False) is made and type(made) is ours
    with pytest.raises(ValueError, match="emit"):  # settings are judged all the same
        binding.patched(keras.optimizers.Adam, strict=False, emit="nonsense")


def counted(function):
    """A decorator as Keras 2.2 has on `get_updates`."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        wrapper.calls.append(function.__name__)
        return function(*args, **kwargs)

    wrapper.calls = []
    return wrapper


class Decorated(keras.optimizers.Adam):
    @counted
    def update_step(self, gradient, variable, learning_rate):
        from keras import ops

        m = self._momentums[self._get_variable_index(variable)]
        v = self._velocities[self._get_variable_index(variable)]
        self.assign(m, 0.9 * m + 0.1 * gradient)
        self.assign(v, 0.999 * v + 0.001 * ops.square(gradient))
        self.assign_sub(variable, learning_rate * m / (ops.sqrt(v) + 1e-7))


def test_a_decorated_method_is_decorated_again(binding):
    optimizer = binding.patched(Decorated, emit="tensor")(0.1)
    variable = keras.Variable(np.ones(3, np.float32))
    optimizer.apply([tf.constant([1.0, 2.0, 3.0])], [variable])
    assert type(optimizer).update_step.calls == ["update_step"]
    (rate,) = binding.effective_rates(optimizer).values()
    assert np.allclose(rate * [1.0, 2.0, 3.0], rate[0])
