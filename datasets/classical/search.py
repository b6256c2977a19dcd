"""Vector search through an inverted file of product-quantised vectors (Jegou, Douze, Schmid, TPAMI 2011), as FAISS's IVFPQ runs it."""

from __future__ import annotations

from ..errors import GraphError
from ..workload import Workload
from .kernel import Kernel, positive


def ivf_pq(queries: int = 1, vectors: int = 1_000_000, features: int = 128, lists: int = 1024, probes: int = 16, parts: int = 16, bits: int = 8,
           nearest: int = 10, dtype: str = "float32") -> Workload:
    """Coarse distances to `lists` centres, tables of distances to 2^bits words of each of `parts` sub-vectors for the residual of every probed list, then
    a sum of `parts` table entries per stored vector.

    Operations: q l (2 f + 2 + 1); q p f for the residuals; 2 q p 2^b f for the tables; with s = vectors / lists in each list q p s (m + 1). The scan reads m codes
    per vector and its table entries, which are counted as memory traffic although they lie in cache (assumption: nothing is known of where). Raises GraphError where `parts`
    do not divide `features`, or more lists are probed than there are.
    """
    positive("ivf_pq", queries=queries, vectors=vectors, features=features, lists=lists, probes=probes, parts=parts, bits=bits, nearest=nearest)
    if features % parts or probes > lists or bits > 16 or lists > vectors:
        raise GraphError(f"ivf_pq: expected parts that divide features, probes <= lists <= vectors and at most 16 bits; got {parts} of {features}, {probes} of {lists}, {bits}")
    k, words, length = Kernel("ivf-pq", dtype), 2**bits, -(-vectors // lists)
    tables, codes = queries * probes, "int8" if bits <= 8 else "int16"
    x = k.input("queries", queries * features)
    near = k.add("coarse/products", "gemm", [x], m=queries, n=lists, k=features, params=lists * features)
    near = k.each("coarse/distances", [near], queries * lists, 2, queries + lists)
    near = k.add("coarse/nearest", "reduce", [near], queries * probes, rows=queries, cols=lists)
    rest = k.each("residuals", [near, x], tables * features, 1, tables * features)
    table = k.add("tables", "gemm", [rest], b=parts, m=tables, n=words, k=features // parts, params=words * features)
    entries = tables * length * parts
    found = k.add("scan/look_up", "gather", [table], rows=entries, width=1, table_rows=tables * parts * words, dtype=codes, weight_dtype=dtype, output_dtype=dtype,
                  params=0)
    found = k.add("scan/sum", "reduce", [found], rows=tables * length, cols=parts)
    k.add("nearest", "reduce", [found], 2 * queries * nearest, rows=queries, cols=probes * length)
    return k.build("lists are of equal length")
