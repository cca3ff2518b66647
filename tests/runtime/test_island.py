"""The compiled island: stock's bits, the same bounds as without it, and what is left uncompiled."""

import gc
import logging
import weakref

import numpy as np
import pytest
from bits import same

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")

SHAPES = ((6, 7), (50,), (6, 7))
V1 = tf.compat.v1.train.AdamOptimizer
NEW, LEGACY = tf_keras.optimizers, tf_keras.optimizers.legacy
CASES = {
    "Keras 3 Adam": (keras.optimizers.Adam, {}),
    "Keras 3 AdamW": (keras.optimizers.AdamW, {"weight_decay": 0.1}),
    "Keras 3 schedule": (keras.optimizers.Adam, {"learning_rate": 0.01, "clipnorm": 1.0}),
    "Keras 2 Adam": (NEW.Adam, {}),
    "V2 Adam": (LEGACY.Adam, {}),
    "V2 AMSGrad": (LEGACY.Adam, {"amsgrad": True}),
    "V1 Adam": (V1, {}),
}
#: whose update is one fused kernel, which eager code calls as it is
FUSED = ("V1 Adam", "V2 Adam", "V2 AMSGrad")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Each test sees its own islands and says what it has to say."""
    from adampatch.runtime import islands, proofs

    monkeypatch.setattr(islands, "_COMPILED", {})
    monkeypatch.setattr(islands, "_SAID", set())
    monkeypatch.setattr(proofs, "_PROVEN", {})
    monkeypatch.delenv("ADAMPATCH_COMPILE", raising=False)


def compiled():
    """How many islands there are."""
    from adampatch.runtime import islands

    return len(islands._COMPILED)


def bound(high=None, compile=True, **fields):
    rule = {"id": "r", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate", "max": high}
    return {"version": 1, "observe": {}, "runtime": {"compile": compile}, "rules": [dict(rule, **fields)]}


class Training:
    """Three variables and an optimizer, stock without rules."""

    def __init__(self, make, rules=None, mode="function", shapes=SHAPES, dtype="float32", **settings):
        import adampatch

        cls, options = make
        self.opt = cls(**options)
        if rules is not None:
            self.opt = adampatch.patched(self.opt, rules=rules, **settings)
        rng = np.random.RandomState(3)
        kind = keras.Variable if isinstance(self.opt, keras.optimizers.Optimizer) else tf.Variable
        self.w = [kind(rng.randn(*shape).astype(dtype), name=f"w{i}") for i, shape in enumerate(shapes)]
        if hasattr(self.opt, "build") and not issubclass(cls, V1):
            self.opt.build(self.w)
        self.shapes, self.dtype, self.traces = shapes, dtype, 0
        run = self._update
        self.run = run if mode == "eager" else tf.function(run, jit_compile=mode == "jit")

    def _update(self, *gradients):
        self.traces += 1
        self.opt.apply_gradients(list(zip(gradients, self.w, strict=True)))

    def steps(self, count, seed=0):
        rng = np.random.RandomState(seed)
        for _ in range(count):
            sizes = 10.0 ** rng.uniform(-3, 1, len(self.shapes))
            self.run(
                *(
                    tf.constant((size * rng.randn(*shape)).astype(self.dtype))
                    for size, shape in zip(sizes, self.shapes, strict=True)
                )
            )
        return self

    def state(self):
        own = self.opt.variables
        return [np.asarray(v) for v in [*self.w, *(own() if callable(own) else own)]]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["function", "eager"])
@pytest.mark.parametrize("emit", ["off", "stats", "tensor"])
def test_an_island_whose_rule_never_binds_is_bit_for_bit_stock(name, mode, emit):
    stock = Training(CASES[name], mode=mode).steps(8)
    ours = Training(CASES[name], bound(1e9), mode, emit=emit, every=1 if emit == "tensor" else 3).steps(8)
    assert same(stock.state(), ours.state())
    eagerly = mode == "eager" and (name in FUSED or emit == "tensor")
    assert compiled() == (0 if eagerly else 2)  # one for each shape


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "rule",
    [
        {"high": 0.004},
        {"high": 0.01, "min": 0.001},
        {"high": 2.0, "relative_to": "alpha", "convention": "corrected"},
        {"high": 1e-5, "quantity": "alpha", "start": 3, "end": 7},
        {"high": 0.5, "quantity": "update", "relative_to": "lr"},
        {
            "high": {"kind": "adabound", "final": 0.002, "gamma": 0.05, "side": "upper"},
            "relative_to": "lr/lr0",
        },
    ],
)
def test_an_island_bounds_as_separate_operations_do(name, rule):
    import adampatch

    separate = Training(CASES[name], bound(compile=False, **rule), emit="stats", every=2).steps(8)
    assert compiled() == 0
    ours = Training(CASES[name], bound(**rule), emit="stats", every=2).steps(8)
    assert compiled() == 2
    stock = Training(CASES[name]).steps(8)
    assert same(separate.state(), ours.state()) and not same(stock.state(), ours.state())
    shown = [adampatch.snapshot(x.opt) for x in (separate, ours)]
    for one in shown:
        one["variables"] = [found for _, found in sorted(one["variables"].items())]
    assert shown[0] == shown[1] and shown[0]["variables"][0]["clamped_frac"] > 0


def test_a_limit_of_change_is_compiled_where_nothing_is_observed():
    rules = [bound(max_increase=1.05, compile=c) for c in (False, True)]
    separate, ours = (Training(CASES["Keras 3 Adam"], r, emit="off").steps(8) for r in rules)
    assert compiled() == 2 and same(separate.state(), ours.state())


@pytest.mark.parametrize("emit", ["off", "stats"])
def test_islands_in_a_v1_graph(emit):
    import adampatch

    def run(rules, steps=6):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            opt, rng = V1(0.01), np.random.RandomState(1)
            if rules is not None:
                opt = adampatch.patched(opt, rules=rules, emit=emit)
            w = [
                tf.compat.v1.get_variable(f"w{i}", initializer=rng.randn(*s), use_resource=True)
                for i, s in enumerate(SHAPES)
            ]
            fed = [tf.compat.v1.placeholder(tf.float64, s) for s in SHAPES]
            train = opt.apply_gradients(list(zip(fed, w, strict=True)))
            shown = adampatch.v1.tensors()
            session.run(tf.compat.v1.global_variables_initializer())
            out = []
            for _ in range(steps):
                _, found = session.run([train, shown], {x: rng.randn(*x.shape) for x in fed})
                out += [found[name][quantity] for name in sorted(found) for quantity in sorted(found[name])]
            return session.run(tf.compat.v1.global_variables()), out

    stock, _ = run(None)
    assert same(stock, run(bound(1e9))[0]) and compiled() == 2
    ours, shown = run(bound(0.02))
    separate, theirs = run(bound(0.02, compile=False))
    assert same(ours, separate) and same(shown, theirs) and not same(ours, stock)
    assert len(shown) == (0 if emit == "off" else 4 * 3 * 6)


# -- bits are proven, not hoped for --------------------------------------------------------------


def test_without_the_wall_against_contraction_the_proof_fails_and_nothing_is_compiled(monkeypatch, caplog):
    from adampatch.runtime import proofs

    monkeypatch.setattr(proofs, "minus_zeros", lambda zero: {})
    stock = Training(CASES["Keras 3 Adam"]).steps(4)
    with caplog.at_level(logging.WARNING, "adampatch"):
        ours = [Training(CASES["Keras 3 Adam"], bound(1e9), emit="off").steps(4) for _ in range(2)]
    assert compiled() == 0
    assert all(same(stock.state(), training.state()) for training in ours)
    assert [record.getMessage() for record in caplog.records if record.name == "adampatch"] == [
        "adampatch: bounded updates of Adam are not compiled: " + next(iter(proofs._PROVEN.values()))
    ]
    assert "elements differ when XLA computes them" in next(iter(proofs._PROVEN.values()))


def test_a_maximum_that_xla_takes_otherwise_of_nan_is_not_compiled():
    amsgrad = keras.optimizers.Adam, {"amsgrad": True}
    stock = Training(amsgrad).steps(4)
    ours = Training(amsgrad, bound(1e9), emit="off").steps(4)
    assert same(stock.state(), ours.state()) and compiled() == 0


def test_a_proof_is_made_once_for_all_variables_and_optimizers(monkeypatch):
    from adampatch.runtime import proofs

    asked, differences = [], proofs._differences
    monkeypatch.setattr(proofs, "_differences", lambda p: asked.append(p) or differences(p))
    for mode in ("function", "eager", "function"):
        Training(CASES["Keras 3 Adam"], bound(0.01), mode, emit="off").steps(3)
    assert len(asked) == 1 and compiled() == 2


# -- traces -------------------------------------------------------------------------------------


@pytest.mark.parametrize("emit", ["off", "stats"])
def test_steps_do_not_trace_again(emit, recwarn):
    ours = Training(CASES["Keras 3 Adam"], bound(0.01), emit=emit, every=3).steps(2)
    traces, islands = ours.traces, compiled()
    ours.steps(10)
    assert (ours.traces, compiled()) == (traces, islands) == (1, 2)
    eager = Training(CASES["Keras 3 Adam"], bound(0.01), "eager", emit=emit, every=3).steps(20)
    assert len(only(eager.opt).islands) == 3 and compiled() == 2
    assert not [w for w in recwarn if "retracing" in str(w.message)]


def only(optimizer):
    from adampatch.runtime import records

    (record,) = records.find(optimizer)
    return record


def test_what_is_changed_between_eager_steps_is_obeyed():
    def train(rules):
        settings = {} if rules is None else {"emit": "off"}
        training = Training(CASES["Keras 3 Adam"], rules, "eager", **settings).steps(2)
        training.opt.learning_rate = 0.3
        training.steps(2, seed=1)
        training.opt.beta_1 = 0.5
        return training.steps(2, seed=2).state()

    assert same(train(None), train(bound(1e9))) and compiled() == 2


def test_new_numbers_of_the_rules_take_effect_without_a_trace():
    ours = Training(CASES["Keras 3 Adam"], bound(0.01), emit="off").steps(2)
    only(ours.opt).update_numbers(bound(1e-9))
    before = [w.numpy().copy() for w in ours.w]
    ours.steps(1)
    assert ours.traces == 1
    assert all(np.abs(a - b.numpy()).max() < 1e-7 for a, b in zip(before, ours.w, strict=True))


def test_an_eager_optimizer_is_not_kept_by_its_islands():
    ours = Training(CASES["Keras 3 Adam"], bound(0.01), "eager", emit="off").steps(2)
    held = weakref.ref(ours.opt)
    del ours
    gc.collect()
    assert held() is None


# -- what auto compiles ---------------------------------------------------------------------------


def test_auto_leaves_small_variables_alone_and_says_nothing(caplog):
    Training(CASES["Keras 3 Adam"], bound(0.01, compile="auto"), emit="off").steps(2)
    assert compiled() == 0 and not [record for record in caplog.records if record.name == "adampatch"]


def test_auto_compiles_large_variables_and_many_of_one_shape():
    shapes = ((400, 300), *[(100, 50)] * 21, (3, 4), (5000,))
    Training(CASES["Keras 3 Adam"], bound(0.01, compile="auto"), shapes=shapes, emit="off").steps(1)
    from adampatch.runtime import islands

    assert {shape for _, shape in islands._COMPILED} == {(400, 300), (100, 50)}


def test_auto_compiles_for_few_shapes():
    from adampatch.runtime import islands

    shapes = [(100001 + i,) for i in range(20)]
    Training(CASES["V2 Adam"], bound(0.01, compile="auto"), shapes=shapes, emit="off").steps(1)
    assert {shape for _, shape in islands._COMPILED} == set(shapes[-16:])


@pytest.mark.parametrize(
    "rule, settings, words",
    [
        ({"high": 1e9}, {"dtype": "float16"}, "float16 variables are rounded otherwise there"),
        ({"high": 1e9, "quantity": "update_rms"}, {}, 'rule "r" is of a whole variable'),
        ({"max_increase": 1e9}, {}, 'what rule "r" did is not seen afterwards, but with emit = "off"'),
    ],
)
def test_what_cannot_be_compiled_is_said_once_and_trains_as_stock(rule, settings, words, caplog):
    stock = Training(CASES["V2 Adam"], **settings).steps(3)
    with caplog.at_level(logging.WARNING, "adampatch"):
        ours = Training(CASES["V2 Adam"], bound(**rule), emit="stats", **settings).steps(3)
    assert same(stock.state(), ours.state()) and compiled() == 0
    (said,) = [record for record in caplog.records if record.name == "adampatch"]
    assert words in said.getMessage()


def test_inside_of_a_users_own_jit_nothing_is_compiled_apart():
    stock = Training(CASES["Keras 3 Adam"], mode="jit").steps(4)
    ours = Training(CASES["Keras 3 Adam"], bound(1e9), "jit", emit="off").steps(4)
    assert same(stock.state(), ours.state()) and compiled() == 0


def test_an_update_with_effects_of_its_own_is_run_once_only():
    stock = Training((NEW.Nadam, {})).steps(6)
    ours = Training((NEW.Nadam, {}), bound(1e9), emit="off").steps(6)
    assert same(stock.state(), ours.state()) and compiled() == 0


def test_sparse_gradients_are_updated_without_an_island():
    def train(rules):
        import adampatch

        opt = keras.optimizers.Adam()
        if rules is not None:
            opt = adampatch.patched(opt, rules=rules, emit="off")
        table = keras.Variable(np.ones((20, 3), np.float32))
        opt.build([table])
        rows = tf.IndexedSlices(tf.ones((2, 3)), tf.constant([1, 5]), tf.constant([20, 3]))
        for _ in range(3):
            opt.apply([rows], [table])
        return [np.asarray(v) for v in (table, *opt.variables)]

    assert same(train(None), train(bound(1e9))) and compiled() == 0


def test_with_nothing_to_observe_and_no_rule_no_operation_is_added():
    def operations(**settings):
        rules = {"rules": {"version": 1, "rules": []}} if settings else {}
        training = Training(CASES["Keras 3 Adam"], **rules, **settings)
        given = [tf.TensorSpec(shape, tf.float32) for shape in SHAPES]
        return [op.type for op in training.run.get_concrete_function(*given).graph.get_operations()]

    assert operations(emit="off") == operations()


@pytest.mark.parametrize("value", ["auto", "true", "false"])
def test_the_environment_says_what_is_compiled(value, monkeypatch):
    from adampatch.runtime import settings

    monkeypatch.setenv("ADAMPATCH_COMPILE", value)
    found = settings.resolve(bound(1.0, compile="auto"), {}).compile
    assert found == {"true": True, "false": False}.get(value, value)


@pytest.mark.parametrize("value", ["yes", 1, 0])
def test_other_words_for_compile_are_refused(value):
    from adampatch.runtime import settings

    with pytest.raises(ValueError, match=r"\[runtime\]: compile is .*; use one of auto, true, false"):
        settings.resolve(bound(1.0, compile=value), {}, {})


def test_a_training_function_with_islands_is_saved_and_goes_on_where_it_was(tmp_path):
    import adampatch

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(np.ones((6, 7), np.float32))
            self.opt = adampatch.patched(LEGACY.Adam(0.01), rules=bound(0.004), emit="stats", every=2)

        @tf.function(input_signature=[tf.TensorSpec((6, 7), tf.float32)])
        def train(self, gradient):
            self.opt.apply_gradients([(gradient, self.w)])
            return self.w.read_value()

    module, rng = Module(), np.random.RandomState(2)
    gradients = [rng.randn(6, 7).astype(np.float32) for _ in range(5)]
    for gradient in gradients[:2]:
        module.train(gradient)
    assert compiled() == 1
    tf.saved_model.save(module, str(tmp_path / "model"))
    back = tf.saved_model.load(str(tmp_path / "model"))
    for gradient in gradients[2:]:
        here, there = module.train(gradient).numpy(), back.train(gradient).numpy()
        assert here.tobytes() == there.tobytes()


def test_under_a_strategy_nothing_is_compiled(caplog):
    stock = Training(CASES["Keras 3 Adam"], mode="eager").steps(3)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope(), caplog.at_level(logging.WARNING, "adampatch"):
        ours = Training(CASES["Keras 3 Adam"], bound(1e9), "eager", emit="off")
        strategy.run(lambda: ours.steps(3) and None)
    assert same(stock.state(), ours.state()) and compiled() == 0
    assert "a distribution strategy is at work" in caplog.text
