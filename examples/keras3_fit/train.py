"""Classify handwritten digits with Keras 3: scikit-learn's digits, a small dense network, Adam."""

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def load_data():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32")
    return train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)


def build_model():
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu", name="hidden"),
            keras.layers.Dropout(0.2, name="dropout"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="digits",
    )


def save_variables(path, model):
    """Save the weights and the optimizer's state, one array per variable path."""
    variables = [*model.variables, *model.optimizer.variables]
    np.savez(path, **{variable.path: keras.ops.convert_to_numpy(variable) for variable in variables})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", metavar="OUT.npz", help="save the final variables here")
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    train_images, test_images, train_labels, test_labels = load_data()

    model = build_model()
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        train_images,
        train_labels,
        validation_data=(test_images, test_labels),
        epochs=args.epochs,
        batch_size=args.batch_size,
        verbose=2,
    )

    loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.4f}")
    if args.weights:
        save_variables(args.weights, model)


if __name__ == "__main__":
    main()
