"""A topic classifier: word embeddings, a dense layer, a custom training loop, and the fork in adamw.py.

The data are synthetic: documents of words with a long tail, drawn from the mixture that their topic
has. Frequent words are in every batch; most words are seen now and then.
"""

import argparse

import numpy as np
import tensorflow as tf
from adamw import AdamW

try:
    import tf_keras as keras
except ImportError:  # TensorFlow up to 2.15
    from tensorflow import keras

WORDS, TOPICS, LENGTH, WIDTH = 2000, 5, 24, 16


def make_data(rng, documents):
    popularity = 1.0 / np.arange(1, WORDS + 1)
    topics = rng.integers(TOPICS, size=documents)
    words = np.empty((documents, LENGTH), np.int32)
    for topic in range(TOPICS):
        mixture = popularity * rng.lognormal(sigma=0.5, size=WORDS)
        chosen = topics == topic
        words[chosen] = rng.choice(WORDS, size=(chosen.sum(), LENGTH), p=mixture / mixture.sum())
    return words, topics.astype(np.int32)


def make_model():
    return keras.Sequential(
        [
            keras.layers.Embedding(WORDS, WIDTH, name="words"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(TOPICS, name="topic"),
        ]
    )


def make_train_step(model, optimizer):
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def train_step(words, topics):
        with tf.GradientTape() as tape:
            loss = cross_entropy(topics, model(words, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        # the gradient of the embedding is an IndexedSlices: the rows of the batch's words
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return train_step


def save_variables(path, model, optimizer):
    """Save the weights and the optimizer's variables, one array each."""
    values = {f"weight_{i}": value for i, value in enumerate(model.get_weights())}
    values.update((f"optimizer_{i}", value) for i, value in enumerate(optimizer.get_weights()))
    np.savez(path, **values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--amsgrad", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", metavar="OUT.npz", help="save the final variables here")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    keras.utils.set_random_seed(args.seed)
    words, topics = make_data(rng, documents=8_000)
    train, test = slice(0, 7_000), slice(7_000, None)
    model = make_model()
    model.build((None, LENGTH))
    optimizer = AdamW(
        learning_rate=5e-3,
        weight_decay=args.weight_decay,
        exclude_from_decay=["bias"],
        amsgrad=args.amsgrad,
    )
    train_step = make_train_step(model, optimizer)

    for step in range(1, args.steps + 1):
        batch = rng.integers(train.stop, size=args.batch_size)
        loss = train_step(words[batch], topics[batch])
        if step == 1 or step % 50 == 0:
            print(f"step {step:4d}  loss {float(loss):.4f}")

    predicted = np.argmax(model.predict(words[test], verbose=0), axis=1)
    print(f"accuracy on new documents {np.mean(predicted == topics[test]):.4f}")
    if args.weights:
        save_variables(args.weights, model, optimizer)


if __name__ == "__main__":
    main()
