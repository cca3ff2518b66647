"""The Adam family of tf.contrib.opt, TensorFlow 1's own addons."""

import tensorflow as tf

FAMILY = "v1"
AdamW = tf.contrib.opt.extend_with_decoupled_weight_decay(tf.compat.v1.train.AdamOptimizer)
CASES = {
    "contrib-LazyAdam": lambda: tf.contrib.opt.LazyAdamOptimizer(0.02),
    "contrib-Nadam": lambda: tf.contrib.opt.NadamOptimizer(0.02),
    "contrib-AdamW": lambda: tf.contrib.opt.AdamWOptimizer(weight_decay=0.01, learning_rate=0.02),
    "contrib-AdamGS": lambda: tf.contrib.opt.AdamGSOptimizer(
        global_step=tf.compat.v1.train.get_or_create_global_step(), learning_rate=0.02
    ),
    "contrib-LazyAdamGS": lambda: tf.contrib.opt.LazyAdamGSOptimizer(
        global_step=tf.compat.v1.train.get_or_create_global_step(), learning_rate=0.02
    ),
    "contrib-extended": lambda: AdamW(weight_decay=0.01, learning_rate=0.02),
    "contrib-MovingAverage": lambda: tf.contrib.opt.MovingAverageOptimizer(
        tf.compat.v1.train.AdamOptimizer(0.02)
    ),
}
