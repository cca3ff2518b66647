"""Reads of variables in v1 graphs: what a thunk reads is what the stock expression has read.

Touches TensorFlow and only operations that the thunk has just made.
"""

from adampatch.runtime import worlds
from adampatch.runtime.lazy import tf

_READ = "ReadVariableOp"
#: how many earlier reads of a variable may be the stock expression's: it was made just now
_RECENT = 16


class Reads(object):
    """The reads that one stock expression is made of.

    A graph gives its reads and writes no order but that of their control dependencies: a
    thunk that reads a schedule again may see it before or after another write of the same
    `sess.run`, and then its rate is not the one applied. Reference variables have one read
    for all, resource variables a new one each time.
    """

    def __init__(self, stock):
        ordered = worlds.world() != worlds.GRAPH or not isinstance(stock, tf.Tensor)
        self.stock = None if ordered else stock
        self.mark = None if ordered else tf.compat.v1.get_default_graph().version

    def of(self, thunk):
        """What `thunk()` gives, made of the stock expression's own reads."""
        value = thunk()
        if self.stock is None or not isinstance(value, (tf.Tensor, tf.Variable)):
            return value
        value = tf.convert_to_tensor(value)
        if self._is_new_read(value):
            return self._stocks(value)
        todo, seen = [value.op], set()
        while todo:
            op = todo.pop()
            if op._id <= self.mark or op._id in seen:
                continue
            seen.add(op._id)
            for index, operand in enumerate(list(op.inputs)):
                if self._is_new_read(operand):
                    op._update_input(index, self._stocks(operand))
                else:
                    todo.append(operand.op)
        return value

    def _is_new_read(self, tensor):
        return tensor.op.type == _READ and tensor.op._id > self.mark

    def _stocks(self, read):
        """The stock expression's read of the variable that `read` reads, else `read` itself."""
        readers = read.op.inputs[0].consumers()
        earlier = [op for op in readers if op.type == _READ and op._id <= self.mark]
        for op in sorted(earlier, key=lambda op: -op._id)[:_RECENT]:
            alike = op._get_control_flow_context() is read.op._get_control_flow_context()
            if alike and op.outputs[0].dtype == read.dtype and _feeds(op, self.stock.op):
                return op.outputs[0]
        return read


def _feeds(op, other):
    """Whether `other` is computed from `op`: looks only at what was made after `op`."""
    todo, seen = [other], set()
    while todo:
        current = todo.pop()
        if current._id == op._id:
            return True
        if current._id < op._id or current._id in seen:
            continue
        seen.add(current._id)
        todo += [tensor.op for tensor in current.inputs]
    return False
