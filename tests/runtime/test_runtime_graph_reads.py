"""Reads in v1 graphs: a thunk is made of the reads that the stock expression is made of."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from adampatch.runtime.graph_reads import Reads  # noqa: E402

v1 = tf.compat.v1


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def variable(value=3.0, name="eta", dtype="float32"):
    return v1.get_variable(name, initializer=np.asarray(value, dtype), use_resource=True)


def reads_below(tensor):
    """The read operations that a tensor is computed from."""
    found, todo = set(), [tensor.op]
    while todo:
        op = todo.pop()
        if op.type == "ReadVariableOp":
            found.add(op.name)
        todo += [operand.op for operand in op.inputs]
    return found


def test_a_variable_is_read_once_for_both(graph):
    eta, m = variable(), tf.constant([1.0, 2.0])
    stock = eta * m / tf.sqrt(m)
    rate = Reads(stock).of(lambda: eta / tf.sqrt(m) + eta)
    assert reads_below(rate) == reads_below(stock) and len(reads_below(stock)) == 1
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        np.testing.assert_allclose(session.run(rate), 3 / np.sqrt([1, 2]) + 3, rtol=1e-6)


def test_the_variable_itself_is_its_read(graph):
    eta = variable()
    stock = eta * tf.constant([1.0, 2.0])
    assert {Reads(stock).of(lambda: eta).op.name} == reads_below(stock)


def test_of_several_reads_it_is_the_one_in_the_stock_expression(graph):
    eta = variable()
    before = eta * 2.0
    stock = eta * tf.constant([1.0, 2.0])
    beside = eta * 4.0
    rate = Reads(stock).of(lambda: eta * 3.0)
    assert reads_below(rate) == reads_below(stock)
    assert not reads_below(rate) & (reads_below(before) | reads_below(beside))


def test_what_the_stock_expression_does_not_read_is_left_alone(graph):
    eta, other = variable(), variable(name="other")
    before = eta * 2.0
    stock = other * tf.constant([1.0, 2.0])
    rate = Reads(stock).of(lambda: eta * other)
    assert len(reads_below(rate) & reads_below(stock)) == 1
    assert not reads_below(rate) & reads_below(before)


def test_several_thunks_share_what_the_step_has_read(graph):
    eta = variable()
    reads = Reads(eta * tf.constant([1.0, 2.0]))
    first, second = reads.of(lambda: eta * 3.0), reads.of(lambda: eta * 4.0)
    assert reads_below(first) == reads_below(second) == reads_below(reads.stock)


@pytest.mark.parametrize("value", [0.5, None, np.float64(0.25)])
def test_what_is_no_tensor_stays_what_it_is(graph, value):
    stock = variable(dtype="float64") * tf.constant([1.0, 2.0], "float64")
    assert Reads(stock).of(lambda: value) is value


def test_an_operation_that_was_there_before_is_not_touched(graph):
    eta = variable()
    named = eta * 2.0
    stock = eta * tf.constant([1.0, 2.0])
    below = reads_below(named)
    assert Reads(stock).of(lambda: named) is named and reads_below(named) == below


def test_eager_code_and_functions_have_an_order_and_are_left_alone():
    eta = tf.Variable(3.0)
    assert Reads(eta * 2.0).of(lambda: eta * 2.0).numpy() == 6.0

    @tf.function
    def step():
        stock = eta * 2.0
        eta.assign(5.0)
        return stock, Reads(stock).of(lambda: eta * 2.0)

    assert [float(x) for x in step()] == [6.0, 10.0]
