"""What rules remember is in checkpoints, and stock's checkpoints and ours load into each other."""

import numpy as np
import pytest
from bits import same
from rule_training import Eager, Graph, Stock, StockGraph, gradients, values_of

import adampatch

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")
v1 = tf.compat.v1

REMEMBERING = [
    {"id": "slew", "quantity": "rate", "max_increase": 1.0002},
    {
        "id": "adabound",
        "quantity": "rate",
        "max": {"kind": "adabound", "final": 0.02, "gamma": 0.05, "side": "upper"},
        "relative_to": "lr/lr0",
    },
]


def falling(of):
    return of.schedules.ExponentialDecay(0.01, 7, 0.8, staircase=True)


MAKERS = {
    "keras3": lambda: keras.optimizers.Adam(falling(keras.optimizers)),
    "k2": lambda: tf_keras.optimizers.Adam(falling(tf_keras.optimizers)),
    "v2": lambda: tf_keras.optimizers.legacy.Adam(falling(tf_keras.optimizers)),
    "v1": lambda: v1.train.AdamOptimizer(0.01),
}


def training(family, rules=REMEMBERING, build=True):
    return Eager(MAKERS[family], rules, v1=family == "v1", build=build)


def checkpoint_of(run):
    return tf.train.Checkpoint(optimizer=run.opt, kernel=run.w[0], table=run.w[1])


def trained(run, steps, first=0):
    for i, (dense, values) in enumerate(gradients(steps)):
        if i >= first:
            run.step(dense, values)
    return run


def remembered(run):
    """Variables, slots, counters, and all that the rules keep."""
    shown = run.shown()["variables"]
    kept = {
        name: v.numpy() for r in adampatch.runtime.records.find(run.opt) for name, v in r.state.names.items()
    }
    totals = {
        name: {k: v for k, v in row["rules"]["slew"].items() if k.endswith("total")}
        for name, row in shown.items()
    }
    arrays = [*values_of(run), *(slot for i in range(2) for slot in run.slots(i)), *run.rates()]
    return arrays, {name: value.tolist() for name, value in sorted(kept.items())}, totals


@pytest.mark.parametrize("family", MAKERS)
def test_a_run_restored_at_any_of_50_steps_is_the_uninterrupted_one(family, tmp_path):
    whole = training(family)
    saver = tf.train.Checkpoint(optimizer=whole.opt, kernel=whole.w[0], table=whole.w[1])
    saved = []
    for i, (dense, values) in enumerate(gradients(50)):
        whole.step(dense, values)
        saved.append((saver.write(str(tmp_path / str(i))), remembered(whole)))
    again = training(family)
    reader = checkpoint_of(again)
    trained(again, 3)  # what is there is to be replaced
    for i, (path, _) in enumerate(saved[:-1]):
        reader.read(path).assert_existing_objects_matched()
        dense, values = list(gradients(50))[i + 1]
        again.step(dense, values)
        ours, theirs = remembered(again), saved[i + 1][1]
        assert same(ours[0], theirs[0]), (family, i)
        assert ours[1:] == theirs[1:], (family, i)
    assert saved[-1][1][2]["kernel"]["clamped_total"] > 0


@pytest.mark.parametrize("family", MAKERS)
def test_a_checkpoint_restored_before_the_first_update(family, tmp_path):
    """Variables of ours that are made late take their values from the checkpoint all the same."""
    whole = trained(training(family), 20)
    path = checkpoint_of(whole).write(str(tmp_path / "c"))
    again = training(family)
    checkpoint_of(again).read(path)
    assert same(remembered(trained(again, 21, first=20))[0], remembered(trained(whole, 21, first=20))[0])


@pytest.mark.parametrize("build", [True, False])
@pytest.mark.parametrize("family", MAKERS)
def test_a_resumed_run_saves_all_that_it_was_resumed_from(family, build, tmp_path):
    whole = trained(training(family), 20)
    path = checkpoint_of(whole).save(str(tmp_path / "c"))
    for first in (20, 21, 22):
        again = training(family, build=build)
        checkpoint_of(again).restore(path)
        trained(again, first + 1, first=first)
        path = checkpoint_of(again).save(str(tmp_path / str(first)))
        ours, theirs = remembered(again), remembered(trained(whole, first + 1, first=first))
        assert same(ours[0], theirs[0]) and ours[1:] == theirs[1:]


@pytest.mark.parametrize("family", MAKERS)
def test_a_stock_checkpoint_loads_and_ours_loads_into_stock(family, tmp_path):
    stock = Stock(MAKERS[family])
    trained(stock, 10)
    path = checkpoint_of(stock).write(str(tmp_path / "stock"))
    ours = training(family)
    checkpoint_of(ours).read(path)
    trained(ours, 12, first=10)
    assert ours.shown()["step"] == (
        12 if family != "v1" else 2
    )  # a `tf.train` optimizer has no count of its own
    path = checkpoint_of(ours).write(str(tmp_path / "ours"))
    trained(stock, 12)  # makes its slots; they are to be replaced
    checkpoint_of(stock).read(path)
    assert same(values_of(stock), values_of(ours))
    assert all(same(stock.slots(i), ours.slots(i)) for i in range(2))
    assert len(stock.variables()) == len(ours.variables())


@pytest.mark.parametrize("family", MAKERS)
def test_with_rules_that_remember_nothing_a_checkpoint_is_stocks(family, tmp_path):
    stock = trained(Stock(MAKERS[family]), 2)
    ceiling = trained(training(family, [{"id": "c", "quantity": "rate", "max": 0.1}]), 2)
    names = []
    for i, run in enumerate((stock, ceiling)):
        path = checkpoint_of(run).write(str(tmp_path / str(i)))
        names.append(sorted(tf.train.load_checkpoint(path).get_variable_to_shape_map()))
    assert names[0] == names[1]


def model():
    made = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(4), keras.layers.Dense(1)])
    opt = adampatch.patched(
        keras.optimizers.Adam(0.01), rules={"version": 1, "rules": REMEMBERING}, emit="tensor"
    )
    made.compile(opt, "mse")
    return made


def batches():
    rng = np.random.RandomState(5)
    return rng.randn(8, 3).astype(np.float32), rng.randn(8, 1).astype(np.float32)


def kept(optimizer):
    (record,) = adampatch.runtime.records.find(optimizer)
    return {name: v.numpy().tolist() for name, v in sorted(record.state.names.items())}


def test_a_keras_file_holds_it_and_the_optimizers_variables_are_stocks(tmp_path):
    x, y = batches()
    first = model()
    first.fit(x, y, epochs=5, verbose=0)
    path = str(tmp_path / "m.keras")
    first.save(path)
    assert len(first.optimizer.variables) == 2 + 2 * 4
    second = keras.models.load_model(path)
    assert type(second.optimizer) is keras.optimizers.Adam  # stock, with stock's state
    assert same(
        [v.numpy() for v in second.optimizer.variables], [v.numpy() for v in first.optimizer.variables]
    )


def test_weights_of_keras_hold_it(tmp_path):
    x, y = batches()
    first, second = model(), model()
    second.set_weights(first.get_weights())
    first.fit(x, y, epochs=5, verbose=0)
    path = str(tmp_path / "m.weights.h5")
    first.save_weights(path)
    second.optimizer.build(second.trainable_variables)
    second.load_weights(path)
    assert kept(first.optimizer) == kept(second.optimizer)
    for m in (first, second):
        m.fit(x, y, epochs=3, verbose=0)
    assert same(first.get_weights(), second.get_weights())


def test_weights_that_stock_wrote_load_without_a_word(tmp_path, recwarn):
    x, y = batches()
    stock = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(4), keras.layers.Dense(1)])
    stock.compile(keras.optimizers.Adam(0.01), "mse")
    stock.fit(x, y, epochs=3, verbose=0)
    path = str(tmp_path / "m.weights.h5")
    stock.save_weights(path)
    ours = model()
    ours.optimizer.build(ours.trainable_variables)
    ours.load_weights(path)
    assert int(ours.optimizer.iterations) == int(stock.optimizer.iterations)
    assert not [w for w in recwarn if "variables" in str(w.message)]
    path = str(tmp_path / "ours.weights.h5")
    ours.fit(x, y, epochs=1, verbose=0)
    ours.save_weights(path)
    stock.load_weights(path)
    assert same(stock.get_weights(), ours.get_weights())


class TestSessions:
    """v1 graphs and `Saver`."""

    def graph(self, rules=REMEMBERING):
        return Graph(lambda: v1.train.AdamOptimizer(0.01), rules)

    def state(self, run):
        ours = run.graph.get_collection("adampatch/state")
        return [*run.values, *run.slots(0), *run.slots(1), *run.session.run(ours), *run.rates()]

    def test_a_run_restored_at_any_of_50_steps_is_the_uninterrupted_one(self, tmp_path):
        whole, again = self.graph(), self.graph()
        saved = []
        for i, (dense, values) in enumerate(gradients(50)):
            whole.step(dense, values)
            saved.append((whole.save(tmp_path / "c", i), self.state(whole)))
        for i, (dense, values) in enumerate(list(gradients(50))[1:]):
            again.restore(saved[i][0])
            again.step(dense, values)
            assert same(self.state(again), saved[i + 1][1]), i

    def test_a_stock_checkpoint_loads_with_its_clock(self, tmp_path):
        stock = StockGraph()
        trained(stock, 23)
        path = stock.save(tmp_path / "stock")
        ours = self.graph()
        ours.restore(path)
        (clock,) = [v for v in ours.graph.get_collection("adampatch/state") if v.op.name.endswith("updates")]
        assert ours.session.run(clock) == 23
        assert same(ours.values, stock.values)
        trained(ours, 24, first=23)
        path = ours.save(tmp_path / "ours")
        stock.restore(path)
        assert same(ours.values, stock.values)

    def test_a_checkpoint_that_lacks_the_users_variables_is_refused_as_ever(self, tmp_path):
        ours = self.graph()
        with ours.graph.as_default():
            more = v1.get_variable("more", initializer=np.zeros(2, np.float32))
            saver = v1.train.Saver()
        ours.session.run(more.initializer)
        path = ours.save(tmp_path / "c")
        with pytest.raises(tf.errors.NotFoundError, match="more"), ours.graph.as_default():
            saver.restore(ours.session, path)

    def test_a_session_that_ran_only_the_users_initializers_trains(self):
        ours = self.graph()
        session = v1.Session(graph=ours.graph)
        with ours.graph.as_default():
            theirs = [v for v in v1.global_variables() if not v.op.name.startswith("adampatch/")]
            initial = v1.variables_initializer(theirs)
        session.run(initial)
        ours.session = session
        other = self.graph()
        assert same(trained(ours, 5).values, trained(other, 5).values)

    def test_monitored_training_restores_a_stock_checkpoint(self, tmp_path):
        stock = trained(StockGraph(), 7)
        stock.save(tmp_path / "model")
        ours = self.graph()
        with ours.graph.as_default():
            scaffold = v1.train.Scaffold(saver=ours.saver)
            creator = v1.train.ChiefSessionCreator(scaffold, checkpoint_dir=str(tmp_path))
            with v1.train.MonitoredSession(creator) as session:
                assert same(session.run(ours.w), stock.values)

    def test_rules_that_remember_nothing_add_no_variable(self):
        ours = self.graph([{"id": "c", "quantity": "rate", "max": 0.1}])
        with ours.graph.as_default():
            assert not [v for v in v1.global_variables() if "adampatch" in v.name]
