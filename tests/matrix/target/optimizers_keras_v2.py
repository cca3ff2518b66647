"""The Adam family of OptimizerV2 under the name that TensorFlow 1.15 to 2.10 have for it."""

import tensorflow as tf

FAMILY = "v2"
CASES = {
    "v2-Adam": lambda: tf.keras.optimizers.Adam(0.02),
    "v2-AMSGrad": lambda: tf.keras.optimizers.Adam(0.02, amsgrad=True),
    "v2-Nadam": lambda: tf.keras.optimizers.Nadam(0.02),
    "v2-Adamax": lambda: tf.keras.optimizers.Adamax(0.02),
    "v2-decaying": lambda: tf.keras.optimizers.Adam(0.02, beta_1=0.8, epsilon=1e-3, decay=0.05),
}
