"""The Adam family of OptimizerV2 under its later name."""

import tensorflow as tf

FAMILY = "v2"
CASES = {
    "legacy-Adam": lambda: tf.keras.optimizers.legacy.Adam(0.02),
    "legacy-AMSGrad": lambda: tf.keras.optimizers.legacy.Adam(0.02, amsgrad=True),
    "legacy-Nadam": lambda: tf.keras.optimizers.legacy.Nadam(0.02),
    "legacy-Adamax": lambda: tf.keras.optimizers.legacy.Adamax(0.02),
}
