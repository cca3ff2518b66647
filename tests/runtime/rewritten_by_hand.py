"""Update methods as the rewriter emits them, written by hand: the run time is tested without the tool side.

Only stock optimizers of TensorFlow 2.21 / Keras 3.15; `_adampatch` is bound by `methods_of`.
"""


class Refused(Exception):
    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


def keras_methods(_adampatch):
    """{(module, class name): {method name: function}} for Keras 3."""
    from keras.src import ops

    def adam(self, gradient, variable, learning_rate):
        lr = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        local_step = ops.cast(self.iterations + 1, variable.dtype)
        beta_1_power = ops.power(ops.cast(self.beta_1, variable.dtype), local_step)
        beta_2_power = ops.power(ops.cast(self.beta_2, variable.dtype), local_step)
        m = self._momentums[self._get_variable_index(variable)]
        v = self._velocities[self._get_variable_index(variable)]
        alpha = lr * ops.sqrt(1 - beta_2_power) / (1 - beta_1_power)
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m), 1 - self.beta_1))
        self.assign_add(v, ops.multiply(ops.subtract(ops.square(gradient), v), 1 - self.beta_2))
        if self.amsgrad:
            v_hat = self._velocity_hats[self._get_variable_index(variable)]
            self.assign(v_hat, ops.maximum(v_hat, v))
            v = v_hat
        self.assign_sub(
            variable,
            _adampatch.step(
                self,
                variable,
                update=ops.divide(ops.multiply(m, alpha), ops.add(ops.sqrt(v), self.epsilon)),
                rate=lambda: ops.divide(alpha, ops.add(ops.sqrt(v), self.epsilon)),
                direction=lambda: m,
                alpha=lambda: alpha,
            ),
        )

    def nadam(self, gradient, variable, learning_rate):
        var_dtype = variable.dtype
        lr = ops.cast(learning_rate, var_dtype)
        gradient = ops.cast(gradient, var_dtype)
        local_step = ops.cast(self.iterations + 1, var_dtype)
        next_step = ops.cast(self.iterations + 2, var_dtype)
        decay = ops.cast(0.96, var_dtype)
        beta_1 = ops.cast(self.beta_1, var_dtype)
        beta_2 = ops.cast(self.beta_2, var_dtype)
        u_t = beta_1 * (1.0 - 0.5 * (ops.power(decay, local_step)))
        u_t_1 = beta_1 * (1.0 - 0.5 * (ops.power(decay, next_step)))
        u_product_t = ops.cast(self._u_product, var_dtype)
        u_product_t_1 = u_product_t * u_t_1
        beta_2_power = ops.power(beta_2, local_step)
        m = self._momentums[self._get_variable_index(variable)]
        v = self._velocities[self._get_variable_index(variable)]
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m), (1 - beta_1)))
        self.assign_add(v, ops.multiply(ops.subtract(ops.square(gradient), v), (1 - beta_2)))
        m_hat = ops.add(
            ops.divide(ops.multiply(u_t_1, m), 1 - u_product_t_1),
            ops.divide(ops.multiply(1 - u_t, gradient), 1 - u_product_t),
        )
        v_hat = ops.divide(v, (1 - beta_2_power))
        self.assign_sub(
            variable,
            _adampatch.step(
                self,
                variable,
                update=ops.divide(ops.multiply(m_hat, lr), ops.add(ops.sqrt(v_hat), self.epsilon)),
                rate=lambda: ops.divide(lr, ops.add(ops.sqrt(v_hat), self.epsilon)),
                direction=lambda: m_hat,
                alpha=lambda: lr,
            ),
        )

    def adamax(self, gradient, variable, learning_rate):
        lr = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        local_step = ops.cast(self.iterations + 1, variable.dtype)
        beta_1_power = ops.power(ops.cast(self.beta_1, variable.dtype), local_step)
        m = self._m[self._get_variable_index(variable)]
        u = self._u[self._get_variable_index(variable)]
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m), (1 - self.beta_1)))
        self.assign(u, ops.maximum(ops.multiply(self.beta_2, u), ops.abs(gradient)))
        self.assign_sub(
            variable,
            _adampatch.step(
                self,
                variable,
                update=ops.divide(
                    ops.multiply(lr, m), ops.multiply((1 - beta_1_power), ops.add(u, self.epsilon))
                ),
                rate=lambda: ops.divide(lr, ops.multiply((1 - beta_1_power), ops.add(u, self.epsilon))),
                direction=lambda: m,
            ),
        )

    return {
        ("keras.src.optimizers.adam", "Adam"): {"update_step": adam},
        ("keras.src.optimizers.nadam", "Nadam"): {"update_step": nadam},
        ("keras.src.optimizers.adamax", "Adamax"): {"update_step": adamax},
    }


def v1_methods(_adampatch):
    """The same for `tf.compat.v1.train.AdamOptimizer`."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_ops, math_ops, state_ops
    from tensorflow.python.training import adam

    gen_training_ops = getattr(adam, "gen_training_ops", None) or adam.training_ops

    def _apply_dense(self, grad, var):
        m = self.get_slot(var, "m")
        v = self.get_slot(var, "v")
        beta1_power, beta2_power = self._get_beta_accumulators()
        return _adampatch.fused(self, var, gen_training_ops.apply_adam)(
            var,
            m,
            v,
            math_ops.cast(beta1_power, var.dtype.base_dtype),
            math_ops.cast(beta2_power, var.dtype.base_dtype),
            math_ops.cast(self._lr_t, var.dtype.base_dtype),
            math_ops.cast(self._beta1_t, var.dtype.base_dtype),
            math_ops.cast(self._beta2_t, var.dtype.base_dtype),
            math_ops.cast(self._epsilon_t, var.dtype.base_dtype),
            grad,
            use_locking=self._use_locking,
        ).op

    def _resource_apply_dense(self, grad, var):
        m = self.get_slot(var, "m")
        v = self.get_slot(var, "v")
        beta1_power, beta2_power = self._get_beta_accumulators()
        return _adampatch.fused(self, var, gen_training_ops.resource_apply_adam)(
            var.handle,
            m.handle,
            v.handle,
            math_ops.cast(beta1_power, grad.dtype.base_dtype),
            math_ops.cast(beta2_power, grad.dtype.base_dtype),
            math_ops.cast(self._lr_t, grad.dtype.base_dtype),
            math_ops.cast(self._beta1_t, grad.dtype.base_dtype),
            math_ops.cast(self._beta2_t, grad.dtype.base_dtype),
            math_ops.cast(self._epsilon_t, grad.dtype.base_dtype),
            grad,
            use_locking=self._use_locking,
        )

    def _apply_sparse_shared(self, grad, var, indices, scatter_add):
        beta1_power, beta2_power = self._get_beta_accumulators()
        beta1_power = math_ops.cast(beta1_power, var.dtype.base_dtype)
        beta2_power = math_ops.cast(beta2_power, var.dtype.base_dtype)
        lr_t = math_ops.cast(self._lr_t, var.dtype.base_dtype)
        beta1_t = math_ops.cast(self._beta1_t, var.dtype.base_dtype)
        beta2_t = math_ops.cast(self._beta2_t, var.dtype.base_dtype)
        epsilon_t = math_ops.cast(self._epsilon_t, var.dtype.base_dtype)
        lr = lr_t * math_ops.sqrt(1 - beta2_power) / (1 - beta1_power)
        m = self.get_slot(var, "m")
        m_scaled_g_values = grad * (1 - beta1_t)
        m_t = state_ops.assign(m, m * beta1_t, use_locking=self._use_locking)
        with ops.control_dependencies([m_t]):
            m_t = scatter_add(m, indices, m_scaled_g_values)
        v = self.get_slot(var, "v")
        v_scaled_g_values = (grad * grad) * (1 - beta2_t)
        v_t = state_ops.assign(v, v * beta2_t, use_locking=self._use_locking)
        with ops.control_dependencies([v_t]):
            v_t = scatter_add(v, indices, v_scaled_g_values)
        v_sqrt = math_ops.sqrt(v_t)
        var_update = state_ops.assign_sub(
            var,
            _adampatch.step(
                self,
                var,
                update=lr * m_t / (v_sqrt + epsilon_t),
                rate=lambda: lr / (v_sqrt + epsilon_t),
                direction=lambda: m_t,
                alpha=lambda: lr,
            ),
            use_locking=self._use_locking,
        )
        return control_flow_ops.group(*[var_update, m_t, v_t])

    return {
        ("tensorflow.python.training.adam", "AdamOptimizer"): {
            "_apply_dense": _apply_dense,
            "_resource_apply_dense": _resource_apply_dense,
            "_apply_sparse_shared": _apply_sparse_shared,
        }
    }


def rewritten_methods(owner, binding):
    """Stands in for `adampatch.rewrite.live.rewritten_methods`."""
    if owner.__name__ == "RefusedAdam":
        raise Refused("AP203", "the normaliser is inside the first moment (line 7)")
    key = (owner.__module__, owner.__name__)
    tables = [v1_methods] if key[0].startswith("tensorflow.") else [keras_methods]
    for table in tables:
        found = table(binding).get(key)
        if found:
            return found
    return {}
