"""Compare optimizers on scikit-learn's digits: the same network and batches for each."""

import argparse

import keras
import numpy as np
from registry import OPTIMIZERS, make
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BASELINE = "adam"


def load_data():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32")
    return train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)


def build_model():
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="digits",
    )


def train(name, optimizer, data, epochs, seed):
    """The trained model; `optimizer` is an instance, or a name that Keras knows."""
    keras.utils.set_random_seed(seed)
    train_images, test_images, train_labels, test_labels = data
    model = build_model()
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(train_images, train_labels, epochs=epochs, batch_size=32, verbose=0)
    loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
    print(f"{name:10} test loss {loss:.4f}, test accuracy {accuracy:.4f}")
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--optimizers", nargs="+", choices=sorted(OPTIMIZERS), default=sorted(OPTIMIZERS))
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", metavar="OUT.npz", help="save all final variables here")
    args = parser.parse_args()

    data = load_data()
    runs = {"baseline": BASELINE}
    runs.update((name, make(name, args.learning_rate)) for name in args.optimizers)
    saved = {}
    for name, optimizer in runs.items():
        model = train(name, optimizer, data, args.epochs, args.seed)
        for variable in [*model.variables, *model.optimizer.variables]:
            saved[f"{name}/{variable.path}"] = keras.ops.convert_to_numpy(variable)
    if args.weights:
        np.savez(args.weights, **saved)


if __name__ == "__main__":
    main()
