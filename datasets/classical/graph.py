"""Sparse times dense, and the layers of graph networks made of it: GCN, GraphSAGE, GAT.

A row of the sparse matrix has `degree` nonzeros. Its product with a dense matrix is one `pool`: rows x width outputs, each a product and a sum for every
nonzero, reading every row of the dense matrix once (a cache that holds it; less lucky access costs up to `degree` times that). Column numbers and values are
fetched by a `gather` before it.
"""

from __future__ import annotations

from ..ops import ELEMENTWISE_COST
from ..workload import Workload
from .kernel import Kernel, positive


def _spmm(k: Kernel, name: str, x: int, rows: int, columns: int, degree: int, width: int, weighted: bool = True) -> int:
    nonzeros = rows * degree
    edges = k.add(f"{name}/nonzeros", "gather", [k.input(f"{name}/columns", nonzeros, "int32")], rows=nonzeros, width=1, table_rows=nonzeros)
    return k.add(f"{name}/sums", "pool", [edges, x], batch=1, channels=width, in_h=columns, in_w=1, out_h=rows, out_w=1, kernel_h=degree, kernel_w=2 if weighted else 1)


def spmm(rows: int = 100_000, columns: int = 0, degree: int = 16, width: int = 64, dtype: str = "float32") -> Workload:
    """A sparse matrix (`columns` 0: square) times a dense one of `width` columns: 2 r d w operations, 2 for each nonzero and column."""
    positive("spmm", rows=rows, columns=columns or rows, degree=degree, width=width)
    k = Kernel("spmm", dtype)
    _spmm(k, "product", k.input("dense", (columns or rows) * width), rows, columns or rows, degree, width)
    return k.build(f"{rows * degree} nonzeros")


def gcn(nodes: int = 100_000, degree: int = 16, features: int = 128, width: int = 64, dtype: str = "float32") -> Workload:
    """ReLU(A X W) (Kipf and Welling, ICLR 2017, equation 2), X W first; self-loops are among the `degree`: 2 n f w + 2 n d w + n w operations."""
    positive("gcn", nodes=nodes, degree=degree, features=features, width=width)
    k = Kernel("gcn", dtype)
    x = k.add("project", "gemm", [k.input("x", nodes * features)], m=nodes, n=width, k=features, params=features * width)
    k.each("relu", [_spmm(k, "aggregate", x, nodes, nodes, degree, width)], nodes * width, ELEMENTWISE_COST["relu"])
    return k.build()


def sage(nodes: int = 100_000, degree: int = 16, features: int = 128, width: int = 64, dtype: str = "float32") -> Workload:
    """GraphSAGE with the mean of the neighbours (Hamilton et al., NeurIPS 2017, algorithm 1): n d f additions, 4 n f for the mean, 4 n f w for the product of
    [own, mean], n w for ReLU."""
    positive("sage", nodes=nodes, degree=degree, features=features, width=width)
    k = Kernel("sage", dtype)
    x = k.input("x", nodes * features)
    mean = k.each("mean", [_spmm(k, "aggregate", x, nodes, nodes, degree, features, weighted=False)], nodes * features, ELEMENTWISE_COST["div"], nodes)
    both = k.copy("join", [x, mean], 2 * nodes * features)
    k.each("relu", [k.add("project", "gemm", [both], m=nodes, n=width, k=2 * features, params=2 * features * width)], nodes * width, ELEMENTWISE_COST["relu"])
    return k.build()


def gat(nodes: int = 100_000, degree: int = 16, features: int = 128, width: int = 8, heads: int = 8, dtype: str = "float32") -> Workload:
    """Graph attention (Velickovic et al., ICLR 2018, equations 1 to 5), `width` per head: 2 n f h w for the projection, 4 n h w for both halves of the scores,
    n d h (1 + 2) to add and LeakyReLU them along edges, a softmax over each node's `degree` (12 a score), 2 n d h w to sum, 9 n h w for ELU."""
    positive("gat", nodes=nodes, degree=degree, features=features, width=width, heads=heads)
    k, edges, wide = Kernel("gat", dtype), nodes * degree, heads * width
    x = k.add("project", "gemm", [k.input("x", nodes * features)], m=nodes, n=wide, k=features, params=features * wide)
    halves = k.add("scores/halves", "gemm", [x], b=heads, m=nodes, n=2, k=width, params=2 * wide)
    ends = k.add("scores/ends", "gather", [halves, k.input("edges", edges, "int32")], rows=edges, width=heads, table_rows=nodes)
    scores = k.each("scores/sum", [ends], edges * heads, ELEMENTWISE_COST["add"] + ELEMENTWISE_COST["leakyrelu"], nodes * heads)
    scores = k.add("softmax", "softmax", [scores], rows=nodes * heads, cols=degree)
    y = k.add("aggregate", "pool", [scores, x], batch=1, channels=wide, in_h=nodes, in_w=1, out_h=nodes, out_w=1, kernel_h=degree, kernel_w=2)
    k.each("elu", [y], nodes * wide, ELEMENTWISE_COST["exp"] + 1)
    return k.build()
