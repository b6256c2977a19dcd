"""Support vector machines, nearest neighbours, a step of k-means, a random forest: rows of features against vectors at hand.

Distances are those of |x|^2 - 2 x.y + |y|^2, one matrix product and two additions per pair; squared norms of the vectors at hand are taken as stored.
"""

from __future__ import annotations

from ..errors import UnknownNameError
from ..ops import ELEMENTWISE_COST
from ..workload import Workload
from .kernel import Kernel, positive


def svm(rows: int = 1, features: int = 100, vectors: int = 1000, classes: int = 1, kernel: str = "rbf", dtype: str = "float32") -> Workload:
    """Decision values of `rows` samples (Cortes and Vapnik 1995). `rbf`: exp(-g |x - s|^2) against `vectors` support vectors, then a product with their
    coefficients: 2 r v (f + c) + r v (2 + 1 + 8) + r c operations. `linear`: one product, 2 r f c + r c (`vectors` has no meaning)."""
    positive("svm", rows=rows, features=features, vectors=vectors, classes=classes)
    k = Kernel(f"svm-{kernel}", dtype)
    x = k.input("x", rows * features)
    if kernel == "linear":
        k.add("decision", "gemm", [x], m=rows, n=classes, k=features, bias=1, params=(features + 1) * classes)
        return k.build()
    if kernel != "rbf":
        raise UnknownNameError("svm kernel", kernel, ("rbf", "linear"))
    x = k.add("products", "gemm", [x], m=rows, n=vectors, k=features, params=features * vectors)
    cost = 2 * ELEMENTWISE_COST["add"] + ELEMENTWISE_COST["mul"] + ELEMENTWISE_COST["exp"]
    x = k.each("rbf", [x], rows * vectors, cost, rows + vectors)
    k.add("decision", "gemm", [x], m=rows, n=classes, k=vectors, bias=1, params=(vectors + 1) * classes)
    return k.build()


def knn(queries: int = 1, points: int = 10_000, features: int = 100, neighbours: int = 10, dtype: str = "float32") -> Workload:
    """The nearest of `points` to each query by brute force: 2 q p f for the products, 2 q p for the distances, one comparison per distance (a heap of
    the nearest seldom changes)."""
    positive("knn", queries=queries, points=points, features=features, neighbours=neighbours)
    k = Kernel("knn", dtype)
    x = k.add("products", "gemm", [k.input("queries", queries * features)], m=queries, n=points, k=features, params=features * points)
    x = k.each("distances", [x], queries * points, 2, queries + points)
    k.add("nearest", "reduce", [x], 2 * queries * min(neighbours, points), rows=queries, cols=points)
    return k.build()


def kmeans_step(points: int = 10_000, features: int = 100, centres: int = 64, dtype: str = "float32") -> Workload:
    """One round of Lloyd's algorithm: 2 p c f + 2 p c for the distances, p c comparisons, p f additions into the sums, 4 c f for the divisions."""
    positive("kmeans_step", points=points, features=features, centres=centres)
    k = Kernel("kmeans", dtype)
    x = k.input("points", points * features)
    near = k.add("products", "gemm", [x, k.input("centres", centres * features)], m=points, n=centres, k=features)
    near = k.each("distances", [near], points * centres, 2, points + centres)
    near = k.add("assign", "reduce", [near], rows=points, cols=centres)
    sums = k.add("sums", "reduce", [x, near], centres * features, rows=features, cols=points)
    k.each("means", [sums], centres * features, ELEMENTWISE_COST["div"], centres)
    return k.build()


def random_forest(rows: int = 1000, trees: int = 100, depth: int = 10, outputs: int = 1, dtype: str = "float32") -> Workload:
    """Prediction of full trees: on each level every (row, tree) reads its node (feature, threshold, two children) and one feature and compares; then leaves are
    summed: r t d comparisons and r t o additions. Levels follow one on another, since a node is known only when its parent was compared."""
    positive("random_forest", rows=rows, trees=trees, depth=depth, outputs=outputs)
    k = Kernel("forest", dtype)
    walks = rows * trees
    features, at = k.input("x", rows), k.input("roots", walks, "int32")
    for level in range(depth):
        node = k.add(f"level{level}/node", "gather", [at], rows=walks, width=4, table_rows=trees << min(level, 40), params=(trees << min(level, 40)) * 4)
        value = k.add(f"level{level}/feature", "gather", [node, features], rows=walks, width=1)
        at = k.each(f"level{level}/compare", [value], walks, ELEMENTWISE_COST["compare"], walks)
    leaves = k.add("leaves", "gather", [at], rows=walks, width=outputs, table_rows=trees << min(depth, 40), params=(trees << min(depth, 40)) * outputs)
    k.add("mean", "reduce", [leaves], rows=rows * outputs, cols=trees)
    return k.build("every tree is full to its depth")

