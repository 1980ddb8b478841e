"""IVF: vectors in lists around centroids, of which a search reads a few (`models.vector_index` for the interface)."""

from typing import Any, Self

import faiss
import numpy as np

from models.base import ArtefactError, FloatArray, IntArray, ModelError
from models.vector_index import FaissIndex, first_answer, one_thread, parsed_index, unit_vectors

_search_options: Any = faiss.SearchParametersIVF  # FAISS's own type hints do not know its arguments


class IvfIndex(FaissIndex):
    """Vectors in lists around the centroids of a k-means; a search reads the `nprobe` lists nearest to the query."""

    kind = "ivf"

    def __init__(self, index: Any) -> None:
        super().__init__(index)
        index.make_direct_map()  # a row's vector is asked for with every search for its neighbours

    @classmethod
    def build(cls, vectors: FloatArray, *, lists: int, nprobe: int = 1, seed: int = 1) -> Self:
        """Cluster and index vectors of shape (n, d).

        Raises:
            ModelError: not a finite matrix, or fewer vectors than lists, or `nprobe` outside 1..lists.
        """
        unit = unit_vectors(vectors)
        if not 1 <= nprobe <= lists <= len(unit):
            raise ModelError(f"need 1 <= nprobe <= lists <= vectors, got {nprobe}, {lists}, {len(unit)}")
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(unit.shape[1]), unit.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.spherical = seed, True
        # 64 points a centroid place it well enough; more would make the clustering of a large catalogue take minutes.
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
        with one_thread():
            index.train(unit)
            index.add(unit)
        index.nprobe = nprobe
        return cls(index)

    def probing(self, nprobe: int) -> Self:
        """The same lists with another `nprobe`; set in place, since the lists are shared."""
        self._index.nprobe = nprobe
        return self

    @property
    def lists(self) -> int:
        return int(self._index.nlist)

    @property
    def parameters(self) -> dict[str, int]:
        return {"lists": self.lists, "nprobe": int(self._index.nprobe)}

    def scanned(self, queries: FloatArray) -> float:
        """Vectors that a search compares, centroids included: mean over the queries."""
        with one_thread():
            _, probed = self._index.quantizer.search(queries, int(self._index.nprobe))
        sizes = np.array([self._index.invlists.list_size(one) for one in range(self.lists)])
        return float(self.lists + sizes[probed].sum(axis=1).mean()) if len(queries) else float(len(self))

    def list_depths(self, query: FloatArray, rows: IntArray) -> IntArray:
        """How many lists a search reads before it has met each of `rows`."""
        with one_thread():
            _, order = self._index.quantizer.search(query[None, :], self.lists)
            _, own = self._index.quantizer.search(np.array([self.vector(row) for row in rows], np.float32), 1)
        depth = np.empty(self.lists, np.int64)
        depth[order[0]] = np.arange(1, self.lists + 1)
        return np.asarray(depth[own[:, 0]])

    def search(self, query: FloatArray, k: int, *, exhaustive: bool = False) -> tuple[IntArray, FloatArray]:
        options = _search_options(nprobe=self.lists) if exhaustive else None
        return first_answer(*self._index.search(query[None, :], min(k, len(self)), params=options))

    @classmethod
    def from_bytes(cls, content: bytes, *, dimensions: int, vectors: int) -> Self:
        """Load an index whose hash the caller has checked.

        Raises:
            ArtefactError: kind, metric, shape, lists or row numbers are not what was promised.
        """
        index = parsed_index(content, faiss.IndexIVFFlat, dimensions, vectors)
        quantizer = faiss.downcast_index(index.quantizer)
        fits = (
            isinstance(quantizer, faiss.IndexFlat)
            and (quantizer.d, quantizer.ntotal) == (dimensions, index.nlist)
            and 1 <= index.nprobe <= index.nlist
            and (index.invlists.nlist, index.invlists.code_size) == (index.nlist, 4 * dimensions)
        )
        if not fits:
            raise ArtefactError(f"vector index: {index.nlist} lists with nprobe {index.nprobe} do not fit together")
        sizes = [index.invlists.list_size(one) for one in range(index.nlist)]
        rows = [faiss.rev_swig_ptr(index.invlists.get_ids(one), size) for one, size in enumerate(sizes) if size]
        if not np.array_equal(np.sort(np.concatenate(rows)) if rows else [], np.arange(vectors)):
            raise ArtefactError(f"vector index: its lists do not hold each of {vectors} rows once")
        return cls(index)
