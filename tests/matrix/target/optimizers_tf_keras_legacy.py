"""The legacy Adam family of tf_keras."""

import tf_keras

FAMILY = "v2"
CASES = {
    "tf_keras-legacy-Adam": lambda: tf_keras.optimizers.legacy.Adam(0.02),
    "tf_keras-legacy-AMSGrad": lambda: tf_keras.optimizers.legacy.Adam(0.02, amsgrad=True),
    "tf_keras-legacy-Nadam": lambda: tf_keras.optimizers.legacy.Nadam(0.02),
    "tf_keras-legacy-Adamax": lambda: tf_keras.optimizers.legacy.Adamax(0.02),
}
