"""Few-shot classes: the nearest prototype, and what optimal transport gains where labelled rows are few."""

from __future__ import annotations

import numpy as np

from mscon.evaluate.few_shot import few_shot_classes


def groups(seed: int, rows: int = 40, classes: int = 5, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Rows around directions of length 1, as far from them as these are from one another."""
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(classes), rows)
    return np.eye(width)[codes] + 0.45 * generator.normal(size=(len(codes), width)), codes


def test_without_transport_it_is_the_nearest_mean():
    vectors, codes = groups(0)
    support = np.arange(0, len(codes), 10)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    means = np.stack([unit[support][codes[support] == k].mean(axis=0) for k in range(5)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = np.argmax(unit @ means.T, axis=1)
    np.testing.assert_array_equal(few_shot_classes(vectors[support], codes[support] + 7, vectors), expected + 7)


def test_transport_helps_where_one_row_a_class_is_labelled():
    accuracy = {0: [], 3: []}
    for seed in range(20):
        vectors, codes = groups(seed)
        support = np.arange(0, len(codes), 40)
        queries = np.setdiff1d(np.arange(len(codes)), support)
        for transports, scores in accuracy.items():
            named = few_shot_classes(vectors[support], codes[support], vectors[queries], transports=transports)
            scores.append(float((named == codes[queries]).mean()))
    gain = np.array(accuracy[3]) - accuracy[0]
    assert gain.mean() > 0.05
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_prototypes_are_means_of_queries():
    """With a sharp plan each prototype becomes the mean of the queries that are its own."""
    queries = np.array([[1.0, 0.02], [1.0, -0.02], [0.02, 1.0], [-0.02, 1.0]])
    support = np.array([[1.0, 0.9], [0.9, 1.0]])
    named = few_shot_classes(support, np.array([4, 2]), queries, transports=1, epsilon=0.001)
    assert named.tolist() == [4, 4, 2, 2]
