"""Optimizers around optimizers: patched(wrapper) opens them, and what they step is seen and bounded."""

import copy

import numpy as np
import pytest
from bits import same

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
families = pytest.importorskip("families")

from families import LEGACY, NEW, tf_keras  # noqa: E402

v1 = tf.compat.v1
scaled = tf_keras.mixed_precision.LossScaleOptimizer


class Delegating(LEGACY.Optimizer):
    """Calls the update methods of what it wraps, as Lookahead and the moving averages do."""

    def __init__(self, inner, name="Delegating"):
        super().__init__(name)
        self._optimizer = inner

    def _create_slots(self, var_list):
        self._optimizer._create_slots(var_list)

    def _prepare(self, var_list):
        self._optimizer._iterations = self.iterations
        return self._optimizer._prepare(var_list)

    def _resource_apply_dense(self, grad, var):
        return self._optimizer._resource_apply_dense(grad, var)

    def _resource_apply_sparse(self, grad, var, indices):
        return self._optimizer._resource_apply_sparse(grad, var, indices)

    def variables(self):
        return self._optimizer.variables()

    def get_config(self):
        return {"name": self._name}


class Several:
    """One optimizer per variable, kept in a list of dicts; of no Keras at all."""

    def __init__(self, *optimizers):
        self.specs = [{"optimizer": optimizer, "weights": i} for i, optimizer in enumerate(optimizers)]

    def apply_gradients(self, grads_and_vars):
        for spec, pair in zip(self.specs, grads_and_vars, strict=True):
            spec["optimizer"].apply_gradients([pair])

    @property
    def variables(self):
        return [v for spec in self.specs for v in families.variables_of(spec["optimizer"])]


class ByUpdateStep(NEW.Adam):
    """Is an Adam, and leaves the work to the one it holds."""

    def __init__(self, inner):
        super().__init__(0.5)
        self.inner = inner

    def build(self, var_list):
        self.inner.build(var_list)

    def apply_gradients(self, grads_and_vars):
        return self.inner.apply_gradients(grads_and_vars)


WRAPPERS = {
    "loss scale, legacy": lambda: scaled(LEGACY.Adam(0.01)),
    "loss scale, newer": lambda: scaled(NEW.AdamW(0.01)),
    "delegating": lambda: Delegating(LEGACY.Nadam(0.01)),
    "delegating, twice": lambda: Delegating(Delegating(LEGACY.Adam(0.01, amsgrad=True))),
    "loss scale of delegating": lambda: scaled(Delegating(LEGACY.Adam(0.01))),
    "several": lambda: Several(NEW.Adam(0.01), LEGACY.Adamax(0.02)),
    "several, one no Adam": lambda: Several(NEW.Adam(0.01), NEW.SGD(0.02)),
    "an Adam that holds another": lambda: ByUpdateStep(NEW.Nadam(0.01)),
}


@pytest.mark.parametrize("mode", ["eager", "function"])
@pytest.mark.parametrize("which", WRAPPERS)
def test_a_wrapper_trains_as_stocks_and_shows_its_rates(which, mode):
    from adampatch import effective_rates, patched, snapshot

    stock = families.Training(WRAPPERS[which](), mode)
    wrapper = WRAPPERS[which]()
    assert patched(wrapper, emit="tensor") is wrapper
    ours = families.Training(wrapper, mode)
    assert same(stock.run(20), ours.run(20))
    rates, shot = effective_rates(wrapper), snapshot(wrapper)
    seen = ["float32/kernel", "float32/table"][: 1 if "no Adam" in which else 2]
    assert sorted(rates) == sorted(shot["variables"]) == seen
    assert shot["step"] == 20
    assert shot["lr"] == (None if which == "several" else pytest.approx(0.01))
    inner = getattr(wrapper, "_optimizer", None)
    if inner is not None:
        assert same([effective_rates(inner)[k] for k in seen], [rates[k] for k in seen])


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
def test_a_wrapper_around_a_patched_optimizer_is_sampled_every_n(mode):
    """As in rewritten code, where what is patched is the inner constructor call."""
    from adampatch import patched, snapshot

    stock = families.Training(Delegating(LEGACY.Adam(0.01)), mode)
    wrapper = Delegating(patched(LEGACY.Adam, every=3)(0.01))
    ours, seen = families.Training(wrapper, mode), []
    for grads in ours.gradients(8):
        ours.apply(*grads)
        seen.append(snapshot(wrapper)["step"])
    assert seen == [1, 1, 1, 4, 4, 4, 7, 7]
    assert same(stock.run(8), ours.state())


@pytest.mark.parametrize("which", ["loss scale, newer", "delegating, twice", "several"])
def test_a_rule_binds_through_a_wrapper(which, rules):
    from adampatch import effective_rates, patched, snapshot

    high = 0.004
    wrapper = patched(WRAPPERS[which](), rules=rules(high=high), emit="tensor")
    training = families.Training(wrapper, "function")
    stock = families.Training(WRAPPERS[which](), "function").run(10)
    assert not same(training.run(10)[:2], stock[:2])
    for rate in effective_rates(wrapper).values():
        assert not (rate > np.float32(high)).any() and (rate == np.float32(high)).any()
    shares = [found["clamped_frac"] for found in snapshot(wrapper)["variables"].values()]
    assert max(shares) > 0


@pytest.mark.parametrize("which", ["loss scale, newer", "delegating", "several"])
def test_patterns_are_checked_over_all_that_a_wrapper_holds(which, rules):
    from adampatch import patched

    wrapper = patched(WRAPPERS[which](), rules=rules(high=1.0, match=["**/kernel", "**/table"]))
    families.Training(wrapper).run(2)
    wrong = patched(WRAPPERS[which](), rules=rules(high=1.0, match=["**/kernel", "**/kernal"]))
    with pytest.raises(ValueError, match=r"pattern '\*\*/kernal' matches no variable.*float32/kernel"):
        families.Training(wrong).run(2)


def test_optimizers_that_hold_each_other_are_opened_once():
    from adampatch import patched, snapshot
    from adampatch.runtime import wrappers

    first, second = Several(NEW.Adam(0.01)), Several(NEW.Adam(0.02))
    first.other, second.other = second, first
    assert [type(part) for part in wrappers.opened(first)] == [Several, NEW.Adam, Several, NEW.Adam]
    assert patched(first) is first
    w = tf.Variable(tf.ones(3), name="w")
    for part in (first, second):
        part.apply_gradients([(tf.ones(3), w)])
    assert sorted(snapshot(first)["variables"]) == ["w", "w#2"]
    assert snapshot(second)["step"] == 1


@pytest.mark.parametrize(
    "make", [lambda: scaled(NEW.SGD(0.1)), lambda: Several(LEGACY.SGD(0.1), NEW.RMSprop())]
)
def test_a_wrapper_around_no_adam_says_so(make):
    from adampatch import NotYetAvailable, patched, snapshot

    wrapper = make()
    with pytest.raises(
        ValueError, match=r"neither .*\w nor what it wraps \(.*(SGD|RMSprop)\) has an Adam-family"
    ):
        patched(wrapper)
    with pytest.raises(NotYetAvailable, match="it is no patched optimizer"):
        snapshot(wrapper)


@pytest.mark.parametrize("cls", [Delegating, NEW.SGD, type(scaled(NEW.SGD(0.1)))])
def test_a_class_without_an_update_says_that_wrappers_are_patched_as_instances(cls):
    from adampatch import patched

    with pytest.raises(
        ValueError, match=rf"{cls.__name__} has no Adam-family update.*patched\(Wrapper\(optimizer\)\)"
    ):
        patched(cls)


def test_nothing_is_patched_where_a_part_is_refused():
    import tensorflow as tf

    from adampatch import patched

    class Refused(NEW.Adam):
        def update_step(self, gradient, variable):
            index = self._index_dict[self._var_key(variable)]
            m, v = self._momentums[index], self._velocities[index]
            v.assign(0.999 * v + 0.001 * tf.square(gradient))
            m.assign(0.9 * m + 0.1 * gradient / (tf.sqrt(v) + 1e-7))
            variable.assign_sub(0.1 * m)

    good = NEW.Adam(0.01)
    with pytest.raises(ValueError, match=r"Refused cannot be patched: AP2\d\d"):
        patched(Several(good, Refused(0.01)))
    assert type(good) is NEW.Adam


def test_a_wrapper_without_source_is_opened_all_the_same():
    from adampatch import patched

    names = {}
    exec(
        "class Hidden:\n def __init__(self, inner): self.inner = inner\n def apply_gradients(self): ...",
        names,
    )
    inner = NEW.Adam(0.01)
    patched(names["Hidden"](inner))
    assert type(inner) is patched(NEW.Adam)


def test_after_its_first_step_a_wrapper_is_opened_too():
    from adampatch import patched, snapshot

    stock, ours = (families.Training(Delegating(LEGACY.Adam(0.01))) for _ in range(2))
    stock.run(5), ours.run(5)
    patched(ours.opt, every=1)
    assert same(stock.run(5), ours.run(5))
    assert snapshot(ours.opt)["step"] == 10


def test_copies_of_wrappers_stay_patched():
    from adampatch import patched, snapshot
    from adampatch.runtime import records

    wrapper = patched(Several(LEGACY.Adam(0.01), LEGACY.Nadam(0.01)), every=2)
    again = copy.deepcopy(wrapper)
    inner = [spec["optimizer"] for spec in again.specs]
    assert [type(part) for part in inner] == [patched(LEGACY.Adam), patched(LEGACY.Nadam)]
    assert all(records.given(part) == {"every": 2} for part in inner)
    families.Training(again).run(2)
    assert snapshot(again)["step"] == 1


def v1_scaled(wrap):
    """20 steps of a loss-scaled V1 Adam in a graph; some gradients overflow and are skipped."""
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        w = v1.get_variable("w", initializer=np.ones(3, "f"), use_resource=True)
        x = v1.placeholder(tf.float32, [3])
        inner = v1.train.AdamOptimizer(0.01)
        scale = v1.mixed_precision.DynamicLossScale(8.0, increment_period=3)
        opt = wrap(v1.mixed_precision.MixedPrecisionLossScaleOptimizer(inner, scale))
        train = opt.minimize(tf.reduce_sum(w * w * x))
        session.run(v1.global_variables_initializer())
        rng = np.random.RandomState(0)
        for i in range(20):
            session.run(train, {x: rng.randn(3) if i % 5 else [np.inf, 1, 1]})
        return session.run(v1.global_variables()), graph, inner


def test_the_loss_scale_of_v1_graphs():
    import adampatch

    stock, _, _ = v1_scaled(lambda opt: opt)
    ours, graph, inner = v1_scaled(adampatch.patched)
    assert type(inner) is adampatch.patched(v1.train.AdamOptimizer)
    assert same(stock, ours) and list(adampatch.v1.tensors(graph)) == ["w"]
