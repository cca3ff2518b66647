"""The new Adam family of tf_keras."""

import tf_keras

FAMILY = "keras2"
FLOAT32_ONLY = ("tf_keras-Nadam",)  # its running product is float32
CASES = {
    "tf_keras-Adam": lambda: tf_keras.optimizers.Adam(0.02, jit_compile=False),
    "tf_keras-AMSGrad": lambda: tf_keras.optimizers.Adam(0.02, amsgrad=True, jit_compile=False),
    "tf_keras-AdamW": lambda: tf_keras.optimizers.AdamW(0.02, weight_decay=0.01, jit_compile=False),
    "tf_keras-Nadam": lambda: tf_keras.optimizers.Nadam(0.02, jit_compile=False),
    "tf_keras-Adamax": lambda: tf_keras.optimizers.Adamax(0.02, jit_compile=False),
}
