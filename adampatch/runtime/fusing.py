"""fused: a kernel as stock calls it, or in separate operations under rules, or those compiled.

Touches TensorFlow; what is read off the states is read after the update.
"""

from adampatch.runtime import graph_tensors, islands, kernels, records, stepping, worlds
from adampatch.runtime.lazy import tf


@worlds.do_not_convert
def fused_call(binding, optimizer, variable, stock):
    """See `Binding.fused`."""
    site = stepping.Site(binding, optimizer, variable)
    if site.idle:
        return stock
    kernel, resource = kernels.kernel_of(stock)
    if kernel is None:
        records.warn_once(
            ("kernel", getattr(stock, "__name__", repr(stock))),
            "{} is no kernel this adampatch knows: stock behaviour, unobserved and unbounded.".format(
                getattr(stock, "__name__", stock)
            ),
        )
        return stock

    @worlds.do_not_convert
    def call(*args, **kwargs):
        try:
            x = kernels.Arguments(kernel, args, kwargs)
        except TypeError:
            return stock(*args, **kwargs)  # the kernel says best what it does not accept
        if site.rules:
            return _bounded_call(site, kernel, resource, x)
        return _stock_call(site, kernel, resource, x, lambda: stock(*args, **kwargs))

    return call


def _stock_call(site, kernel, resource, x, run):
    """The stock kernel, and the reads that show what it did."""
    if worlds.world() == worlds.GRAPH:
        return _stock_call_in_graph(site, kernel, resource, x, run)
    out = run()
    try:
        if site.wanted():
            site.gradient, site.epsilon = x.grad, x.epsilon

            def read():
                states = {
                    name: kernels.read_state(getattr(x, name), x.dtype, resource) for name in kernel.states
                }
                return kernel.read(x, states, kernel.alpha(x))

            site.queue(lambda: read().rate, lambda: read().direction, lambda: kernel.alpha(x), None)
    except Exception as error:
        site.not_observed(error)
    return out


def _stock_call_in_graph(site, kernel, resource, x, run):
    site.epsilon = x.epsilon
    with tf.name_scope("adampatch"):
        alpha = kernel.alpha(x)
    with tf.control_dependencies([alpha]):  # before the beta powers move on
        out = run()
    done = getattr(out, "op", out)
    try:
        with tf.control_dependencies([done]), tf.name_scope("adampatch"):
            states = {name: kernels.read_state(getattr(x, name), x.dtype, resource) for name in kernel.states}
            seen = kernel.read(x, states, alpha)
            dominated = site.dominated(seen.rate, alpha)
            hang = graph_tensors.publish(
                site.record, site.path, seen.rate, alpha, seen.update, None, dominated
            )
            if not hang:
                return out
            with tf.control_dependencies(hang):
                return tf.no_op() if resource else tf.identity(out)
    except Exception as error:
        site.not_observed(error)
        return out


def _bounded_call(site, kernel, resource, x):
    """The kernel in separate ops, under rules.

    Race-free: the new states are tensors and those are used; no state is read after a write.
    """
    site.lr, site.gradient, site.first_power = x.lr, x.grad, x.beta1_power
    site.epsilon = x.epsilon
    done = _compiled_call(site, kernel, resource, x)
    if done is not None:
        return done
    with tf.name_scope("adampatch"):
        old = {name: kernels.read_state(getattr(x, name), x.dtype, resource) for name in kernel.states}
        new = kernel.advance(x, old)
        stock = kernel.read(x, new, kernel.alpha(x))
        outcome = site.bounded(stock.rate, stock.direction, None, stock.update, stock.alpha)
        writes = [kernels.write_state(getattr(x, name), new[name], x, resource) for name in kernel.states]
        writes += outcome.writes
        if not site.record.silent:
            try:
                if worlds.world() == worlds.GRAPH:
                    clamped = tf.broadcast_to(outcome.clamped, tf.shape(outcome.rate))
                    writes += graph_tensors.publish(
                        site.record, site.path, outcome.rate, outcome.alpha, outcome.update, clamped,
                        site.dominated(stock.rate, stock.alpha),
                    )  # fmt: skip
                elif site.wanted():
                    parts = (lambda: stock.rate), (lambda: stock.direction), (lambda: outcome.alpha)
                    site.queue(*parts, outcome=lambda: outcome)
            except Exception as error:
                site.not_observed(error)
        return kernels.write_variable(x, outcome.update, writes, resource)


def _compiled_call(site, kernel, resource, x):
    """`_bounded_call` as an island, None where it is not compiled; what it did is read off the states."""
    if not resource or worlds.world() == worlds.EAGER:
        return None
    with tf.name_scope("adampatch"):
        moment, alpha = site.begin(), kernel.alpha(x)
        site.alpha = alpha
        for rule in site.rules:
            moment.limits(rule, site)  # what they are made of is read before the update

        def stock():
            states = {name: kernels.read_state(getattr(x, name), x.dtype, resource) for name in kernel.states}
            return kernel.read(x, states, alpha)

        def body():
            old = {name: kernels.read_state(getattr(x, name), x.dtype, resource) for name in kernel.states}
            new = kernel.advance(x, old)
            seen = kernel.read(x, new, alpha)
            outcome = site.bounded(seen.rate, seen.direction, None, seen.update, seen.alpha)
            for name in kernel.states:
                kernels.write_state(getattr(x, name), new[name], x, resource)
            kernels.write_variable(x, outcome.update, [], resource)

        def again():
            seen = stock()
            return site.bounded(seen.rate, seen.direction, None, seen.update, seen.alpha)

        with tf.control_dependencies([alpha] + moment.writes):
            done = islands.kernel(site, moment, body)
        if done is None or site.record.silent:
            return done
        try:
            if worlds.world() == worlds.GRAPH:
                with tf.control_dependencies([done]):
                    outcome = again()
                    clamped = tf.broadcast_to(outcome.clamped, tf.shape(outcome.rate))
                    hang = graph_tensors.publish(
                        site.record, site.path, outcome.rate, outcome.alpha, outcome.update, clamped,
                        site.dominated(site.stock_rate, alpha),
                    )  # fmt: skip
                    with tf.control_dependencies(hang):
                        return tf.no_op() if hang else done
            if site.wanted():
                site.queue(
                    lambda: stock().rate, lambda: stock().direction, lambda: again().alpha, outcome=again
                )
        except Exception as error:
            site.not_observed(error)
        return done
