"""AdamW as an OptimizerV2, with AMSGrad: forked from Adam to give it a weight decay that can be kept
from biases and norms by a regular expression on the variable's name.
"""

import re

import tensorflow as tf

try:
    from tf_keras.optimizers.legacy import Optimizer as OptimizerV2
except ImportError:  # TensorFlow up to 2.15 has it in its own Keras
    from tensorflow.keras.optimizers.legacy import Optimizer as OptimizerV2


class AdamW(OptimizerV2):
    def __init__(
        self,
        learning_rate=1e-3,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        weight_decay=0.0,
        exclude_from_decay=None,
        amsgrad=False,
        name="AdamW",
        **kwargs,
    ):
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._set_hyper("beta_1", beta_1)
        self._set_hyper("beta_2", beta_2)
        self._set_hyper("weight_decay", weight_decay)
        self.epsilon = epsilon
        self.exclude_from_decay = exclude_from_decay
        self.amsgrad = amsgrad

    def _create_slots(self, var_list):
        for var in var_list:
            self.add_slot(var, "m")
        for var in var_list:
            self.add_slot(var, "v")
        if self.amsgrad:
            for var in var_list:
                self.add_slot(var, "vhat")

    def _prepare_local(self, var_device, var_dtype, apply_state):
        super()._prepare_local(var_device, var_dtype, apply_state)
        local_step = tf.cast(self.iterations + 1, var_dtype)
        beta_1_t = tf.identity(self._get_hyper("beta_1", var_dtype))
        beta_2_t = tf.identity(self._get_hyper("beta_2", var_dtype))
        beta_1_power = tf.pow(beta_1_t, local_step)
        beta_2_power = tf.pow(beta_2_t, local_step)
        lr_t = apply_state[(var_device, var_dtype)]["lr_t"]
        apply_state[(var_device, var_dtype)].update(
            alpha=lr_t * (tf.sqrt(1 - beta_2_power) / (1 - beta_1_power)),
            epsilon=tf.convert_to_tensor(self.epsilon, var_dtype),
            beta_1_t=beta_1_t,
            beta_1_power=beta_1_power,
            one_minus_beta_1_t=1 - beta_1_t,
            beta_2_t=beta_2_t,
            beta_2_power=beta_2_power,
            one_minus_beta_2_t=1 - beta_2_t,
            wd_t=lr_t * tf.identity(self._get_hyper("weight_decay", var_dtype)),
        )

    def _coefficients(self, var, apply_state):
        var_device, var_dtype = var.device, var.dtype.base_dtype
        return (apply_state or {}).get((var_device, var_dtype)) or self._fallback_apply_state(
            var_device, var_dtype
        )

    def _decays(self, var):
        if self._initial_weight_decay_is_zero():
            return False
        if self.exclude_from_decay is None:
            return True
        return not any(re.search(pattern, var.name) for pattern in self.exclude_from_decay)

    def _initial_weight_decay_is_zero(self):
        weight_decay = self._hyper["weight_decay"]
        return isinstance(weight_decay, float) and weight_decay == 0.0

    def _resource_apply_dense(self, grad, var, apply_state=None):
        coefficients = self._coefficients(var, apply_state)
        m = self.get_slot(var, "m")
        v = self.get_slot(var, "v")
        if not self._decays(var):
            # nothing but Adam: the fused kernels do it
            if not self.amsgrad:
                return tf.raw_ops.ResourceApplyAdam(
                    var=var.handle,
                    m=m.handle,
                    v=v.handle,
                    beta1_power=coefficients["beta_1_power"],
                    beta2_power=coefficients["beta_2_power"],
                    lr=coefficients["lr_t"],
                    beta1=coefficients["beta_1_t"],
                    beta2=coefficients["beta_2_t"],
                    epsilon=coefficients["epsilon"],
                    grad=grad,
                    use_locking=self._use_locking,
                )
            vhat = self.get_slot(var, "vhat")
            return tf.raw_ops.ResourceApplyAdamWithAmsgrad(
                var=var.handle,
                m=m.handle,
                v=v.handle,
                vhat=vhat.handle,
                beta1_power=coefficients["beta_1_power"],
                beta2_power=coefficients["beta_2_power"],
                lr=coefficients["lr_t"],
                beta1=coefficients["beta_1_t"],
                beta2=coefficients["beta_2_t"],
                epsilon=coefficients["epsilon"],
                grad=grad,
                use_locking=self._use_locking,
            )
        m_t = m.assign(
            coefficients["beta_1_t"] * m + coefficients["one_minus_beta_1_t"] * grad,
            use_locking=self._use_locking,
        )
        v_t = v.assign(
            coefficients["beta_2_t"] * v + coefficients["one_minus_beta_2_t"] * tf.square(grad),
            use_locking=self._use_locking,
        )
        if self.amsgrad:
            vhat = self.get_slot(var, "vhat")
            v_hat_t = vhat.assign(tf.maximum(vhat, v_t), use_locking=self._use_locking)
            denominator = tf.sqrt(v_hat_t) + coefficients["epsilon"]
        else:
            denominator = tf.sqrt(v_t) + coefficients["epsilon"]
        update = coefficients["alpha"] * m_t / denominator
        update += coefficients["wd_t"] * var
        return var.assign_sub(update, use_locking=self._use_locking).op

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        coefficients = self._coefficients(var, apply_state)
        m = self.get_slot(var, "m")
        m_t = m.assign(m * coefficients["beta_1_t"], use_locking=self._use_locking)
        with tf.control_dependencies([m_t]):
            m_t = self._resource_scatter_add(m, indices, grad * coefficients["one_minus_beta_1_t"])

        v = self.get_slot(var, "v")
        v_t = v.assign(v * coefficients["beta_2_t"], use_locking=self._use_locking)
        with tf.control_dependencies([v_t]):
            v_t = self._resource_scatter_add(v, indices, grad * grad * coefficients["one_minus_beta_2_t"])

        updates = [m_t, v_t]
        if self.amsgrad:
            vhat = self.get_slot(var, "vhat")
            second_moment = vhat.assign(tf.maximum(vhat, v_t), use_locking=self._use_locking)
            updates.append(second_moment)
        else:
            second_moment = v_t
        update = coefficients["alpha"] * m_t / (tf.sqrt(second_moment) + coefficients["epsilon"])
        if self._decays(var):
            update = update + coefficients["wd_t"] * var
        updates.append(var.assign_sub(update, use_locking=self._use_locking))
        return tf.group(*updates)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "learning_rate": self._serialize_hyperparameter("learning_rate"),
                "decay": self._initial_decay,
                "beta_1": self._serialize_hyperparameter("beta_1"),
                "beta_2": self._serialize_hyperparameter("beta_2"),
                "epsilon": self.epsilon,
                "weight_decay": self._serialize_hyperparameter("weight_decay"),
                "exclude_from_decay": self.exclude_from_decay,
                "amsgrad": self.amsgrad,
            }
        )
        return config
