"""Forks that are applied as Sonnet's optimizers are, to lists of updates and parameters, on real TensorFlow:
the bits are stock's, the emitted rate is the one applied, a ceiling binds and moves nothing else.
"""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from test_forks import NAMES, optimizer_class, rules, same, settings  # noqa: E402, F401

pytestmark = pytest.mark.tensorflow

CASES = [n for n in NAMES if n.startswith("sonnet_")]
LAYOUTS = [(case, False) for case in CASES] + [("sonnet_module_function", True)]
SHAPES = {"kernel": (7, 3), "bias": (3,)}
ROWS = [0, 2, 2, 5]  # the second row twice
STEPS = 12


class Training:
    """Two variables and an optimizer of `cls`, stepped eagerly or in a tf.function."""

    def __init__(self, cls, sparse=False, function=False):
        rng = np.random.RandomState(3)
        self.w = [tf.Variable(rng.randn(*shape).astype("float32"), name=n) for n, shape in SHAPES.items()]
        self.opt, self.sparse = cls(), sparse

        def apply(kernel, bias):
            if sparse:
                kernel = tf.IndexedSlices(kernel, tf.constant(ROWS), tf.constant(SHAPES["kernel"]))
            self.opt.apply([kernel, bias], self.w)

        apply(*next(self.gradients()))  # makes the states
        self.apply = tf.function(apply) if function else apply

    def gradients(self):
        rng = np.random.RandomState(1)
        kernel = (len(ROWS), 3) if self.sparse else SHAPES["kernel"]
        for _ in range(STEPS):
            yield [
                tf.constant(rng.randn(*shape) * rng.choice([0.1, 1, 5]), "float32")
                for shape in (kernel, SHAPES["bias"])
            ]

    def variables(self):
        return [*self.w, *self.opt.variables]

    def read(self):
        return [v.numpy() for v in self.variables()]

    def load(self, values):
        for variable, value in zip(self.variables(), values, strict=True):
            variable.assign(value)

    def run(self):
        for gradients in self.gradients():
            self.apply(*gradients)
        return self.read()


@pytest.mark.parametrize("case, sparse", LAYOUTS)
@pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])
def test_parameters_and_states_are_stocks_bit_for_bit(case, sparse, function, settings):  # noqa: F811
    settings.setenv("ADAMPATCH_EVERY", "5")
    stock, ours = (Training(optimizer_class(case, text), sparse, function) for text in ("before", "after"))
    left, right = stock.run(), ours.run()
    assert len(left) == len(right) > 6
    assert same(left, right)


@pytest.mark.parametrize("case, sparse", LAYOUTS)
def test_the_emitted_rate_is_the_one_applied(case, sparse, settings):  # noqa: F811
    from adampatch import effective_rates

    settings.setenv("ADAMPATCH_EMIT", "tensor")
    seen = []
    ours = Training(optimizer_class(case, "after", spy=lambda *parts: seen.append(parts)), sparse)
    judged = 0
    for gradients in ours.gradients():
        before = ours.read()
        seen.clear()
        ours.apply(*gradients)
        after, emitted = ours.read(), effective_rates(ours.opt)
        assert list(emitted) == list(SHAPES) and len(seen) == 2
        for i, parts in enumerate(seen):
            rate, direction, decay, update = (
                np.float64(0.0 if part is None else getattr(part, "values", part)) for part in parts
            )
            scale = np.abs(rate * direction).max() + np.abs(decay).max()
            np.testing.assert_allclose(rate * direction + decay, update, rtol=1e-4, atol=1e-5 * scale)
            rows = np.unique(ROWS) if sparse and i == 0 else slice(None)
            got = np.float64(list(emitted.values())[i])
            assert np.isfinite(got[rows]).all() and (got[rows] > 0).all()
            np.testing.assert_allclose(got[rows], rate, rtol=1e-5)
            coarse = np.abs(before[i][rows]) * 2.0**-22 + 1e-9
            moved = (np.float64(before[i]) - after[i])[rows]
            assert (np.abs(moved - update) <= 1e-4 * np.abs(update) + coarse).all()
            judged += moved.size
    assert judged > 100


@pytest.mark.parametrize("case, sparse", LAYOUTS)
@pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])
def test_a_binding_ceiling_binds_and_moves_nothing_else(case, sparse, function, settings):  # noqa: F811
    from adampatch import effective_rates

    settings.setenv("ADAMPATCH_EMIT", "tensor")
    free = Training(optimizer_class(case, "after"), sparse)
    seen = []
    for gradients in free.gradients():
        free.apply(*gradients)
        seen += [rate[np.isfinite(rate)] for rate in effective_rates(free.opt).values()]
    high = float(np.median(np.concatenate(seen)))
    stock = Training(optimizer_class(case, "before"), sparse, function)
    free = Training(optimizer_class(case, "after"), sparse, function)
    ours = Training(optimizer_class(case, "after", rules(high)), sparse, function)
    clamped = 0
    for gradients in ours.gradients():
        before = ours.read()
        for other in (stock, free):
            other.load(before)
            other.apply(*gradients)
        ours.apply(*gradients)
        raw, bounded = effective_rates(free.opt), effective_rates(ours.opt)
        after, theirs = ours.read(), stock.read()
        assert same(after[len(ours.w) :], theirs[len(ours.w) :])
        for i, name in enumerate(SHAPES):
            hit = raw[name] > np.float32(high)
            assert (bounded[name][np.isfinite(bounded[name])] <= np.float32(high)).all()
            assert np.array_equal(after[i][~hit], theirs[i][~hit])
            clamped += hit.sum()
    assert clamped > 20


def test_a_checkpoint_holds_what_stocks_does(tmp_path):
    """Samples are kept beside the optimizer, so that its own variables are all that is saved."""
    stock, ours = (Training(optimizer_class("sonnet_numbered_slots", t)) for t in ("before", "after"))
    stock.run()
    path = tf.train.Checkpoint(optimizer=stock.opt).save(str(tmp_path / "saved"))
    tf.train.Checkpoint(optimizer=ours.opt).restore(path).assert_consumed()
    assert same([v.numpy() for v in stock.opt.variables], [v.numpy() for v in ours.opt.variables])
