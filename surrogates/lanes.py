"""Questions -> the lanes they go in: rows that share all but their sizes share a lane (`student.py`)."""

from __future__ import annotations

import numpy as np

from ..datasets.errors import UnknownNameError
from ..datasets.table import OpQuestions
from .student import Lanes, Student


def lane_codes(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """((G,) first row of each lane, (n,) lane of each row) of columns of small whole numbers."""
    joined = np.zeros(len(columns[0]), dtype=np.int64)
    for one in columns:
        joined = joined * (int(one.max(initial=0)) + 2) + one.astype(np.int64) + 1
    _, first, index = np.unique(joined, return_index=True, return_inverse=True)
    return first, index


def lanes_of(student: Student, questions: OpQuestions) -> tuple[Lanes, np.ndarray]:
    """(lanes, (n,) lane of each question). Raises UnknownNameError for a question the student does not know."""
    q = questions
    context = {c: q.context[c].astype(str).to_numpy(dtype=object) for c in student.known if c in q.context.columns}
    coded = [np.unique(values, return_inverse=True)[1] for values in context.values()]
    first, index = lane_codes([q.ops.kind, q.ops.dtype, q.ops.weight_dtype, q.device_index, *coded])
    lanes = []
    for row in first:
        said = (int(q.ops.kind[row]), int(q.ops.dtype[row]), int(q.ops.weight_dtype[row]), q.device_names[q.device_index[row]], q.devices[q.device_index[row]],
                {c: str(values[row]) for c, values in context.items()})
        if not student.knows(*said):
            raise UnknownNameError("circumstance of the student", " ".join(str(x) for x in (said[3], *said[5].values())), student.known["device"])
        lanes.append(student.lane(*said))
    return Lanes.of(lanes), index
