"""Writes a SavedModel that trains itself: a small regression, Keras' Adam, a signature called `train`."""

import argparse

import keras
import numpy as np
import tensorflow as tf


class Regression(tf.Module):
    """A layer and its optimizer. `train` makes one update and returns the loss."""

    def __init__(self, seed):
        super().__init__()
        random = np.random.default_rng(seed)
        self.kernel = tf.Variable(random.normal(size=(8, 2)).astype("float32"), name="kernel")
        self.bias = tf.Variable(tf.zeros(2), name="bias")
        self.optimizer = keras.optimizers.Adam(1e-2)
        self.optimizer.build([self.kernel, self.bias])
        self.state = [variable.value for variable in self.optimizer.variables]  # to be saved along

    @tf.function(input_signature=[tf.TensorSpec([None, 8]), tf.TensorSpec([None, 2])])
    def train(self, x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.matmul(x, self.kernel) + self.bias - y))
        variables = [self.kernel, self.bias]
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default="saved_model")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = Regression(args.seed)
    tf.saved_model.save(model, args.path, signatures={"train": model.train})
    print(f"{args.path}: a SavedModel with the signature train")


if __name__ == "__main__":
    main()
