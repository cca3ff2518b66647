"""Optimizers of our own: Adam with a learning rate per layer, and AdaBelief."""

import keras
from keras import ops


class LayerwiseAdam(keras.optimizers.Adam):
    """Adam with a learning-rate multiplier per layer and a linear warm-up.

    `multipliers` maps words to factors; the first word that is in a variable's path decides.
    """

    def __init__(self, learning_rate=1e-3, multipliers=None, warmup_steps=0, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.multipliers = dict(multipliers or {})
        self.warmup_steps = warmup_steps

    def build(self, variables):
        if not self.built:
            self.factors = [self.factor(variable.path) for variable in variables]
        super().build(variables)

    def factor(self, path):
        return next((factor for word, factor in self.multipliers.items() if word in path), 1.0)

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = learning_rate * self.factors[self._get_variable_index(variable)]
        if self.warmup_steps:
            done = ops.cast(self.iterations + 1, learning_rate.dtype) / self.warmup_steps
            learning_rate = learning_rate * ops.minimum(done, 1.0)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        config = super().get_config()
        config.update(multipliers=self.multipliers, warmup_steps=self.warmup_steps)
        return config


class AdaBelief(keras.optimizers.Optimizer):
    """AdaBelief (Zhuang et al., 2020): the second moment is that of the gradient's surprise."""

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, **kwargs):
        kwargs.setdefault("name", "adabelief")
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.momentums = [self.add_variable_from_reference(v, name="momentum") for v in variables]
        self.surprises = [self.add_variable_from_reference(v, name="surprise") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        lr = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        correction_1 = 1 - ops.power(ops.cast(self.beta_1, variable.dtype), step)
        correction_2 = 1 - ops.power(ops.cast(self.beta_2, variable.dtype), step)

        index = self._get_variable_index(variable)
        m, s = self.momentums[index], self.surprises[index]
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * gradient)
        surprise = ops.square(gradient - m)
        self.assign(s, self.beta_2 * s + (1 - self.beta_2) * surprise + self.epsilon)

        denominator = ops.sqrt(s / correction_2) + self.epsilon
        self.assign_sub(variable, lr * (m / correction_1) / denominator)

    def get_config(self):
        config = super().get_config()
        config.update(beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon)
        return config
