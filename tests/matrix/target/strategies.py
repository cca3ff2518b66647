"""`python strategies.py HOW LIBRARY`: an optimizer in a distribution strategy, and the bits it ends with.

HOW: "single"; "workers", one of the processes that TF_CONFIG names; "servers", a parameter server and two
workers in this process. LIBRARY: "keras", "tf_keras" or "legacy". Every worker has the same data, so that
the mean of their gradients, and all that follows, are those of a single device, to the bit.
"""

import hashlib
import sys

import numpy as np
import tensorflow as tf

STEPS, EVERY = 12, 5


def optimizer_of(library):
    if library == "keras":
        import keras

        return keras.optimizers.Adam(1e-2)
    import tf_keras

    return (tf_keras.optimizers.legacy if library == "legacy" else tf_keras.optimizers).Adam(1e-2)


def servers():
    """The strategy of an in-process cluster; see TensorFlow's guide of parameter server training."""
    import socket

    def free():
        with socket.socket() as found:
            found.bind(("localhost", 0))
            return f"localhost:{found.getsockname()[1]}"

    cluster = tf.train.ClusterSpec({"worker": [free(), free()], "ps": [free()]})
    for job in ("worker", "ps"):
        for index in range(cluster.num_tasks(job)):
            tf.distribute.Server(cluster, job_name=job, task_index=index, protocol="grpc")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    return tf.distribute.ParameterServerStrategy(resolver)


def main(how, library):
    strategy = tf.distribute.get_strategy()
    if how == "workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif how == "servers":
        strategy = servers()
    start = np.linspace(-1, 1, 8).astype("float32")
    with strategy.scope():
        if library == "keras":
            import keras

            variables = [keras.Variable(start, name="a"), keras.Variable(start[:3], name="b")]
        else:
            variables = [tf.Variable(start, name="a"), tf.Variable(start[:3], name="b")]
        optimizer = optimizer_of(library)
        if hasattr(optimizer, "build"):
            optimizer.build(variables)

    def gradients():
        # halves of numbers are exact, and so is the sum of two of them
        return [(tf.convert_to_tensor(v) ** 3 + 0.25) / strategy.num_replicas_in_sync for v in variables]

    def replica_step():
        optimizer.apply_gradients(zip(gradients(), variables, strict=True))

    @tf.function
    def step():
        strategy.run(replica_step)

    if how == "servers":
        coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        for _ in range(STEPS):
            coordinator.schedule(step)
            coordinator.join()
    else:
        for _ in range(STEPS):
            step()
    data = b"".join(np.asarray(v).tobytes() for v in variables)
    print(how, library, hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:3])
