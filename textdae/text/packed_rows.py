"""Lay examples one after the other into rows of one length.

B examples, L positions of the longest, R rows, P positions of a row.
"""

from collections.abc import Mapping

import numpy as np


def pack_rows(
    values: Mapping[str, np.ndarray], fill: Mapping[str, int], inside: np.ndarray, length: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pack padded examples; one that does not fit goes on in the next row, the last row is filled up.

    Args:
        values: of each position, by name. *Shapes:* (B, L).
        fill: what each of them has where a row holds nothing.
        inside: where an example has something. *Shape:* (B, L), bool.
        length: P.

    Returns:
        The values, (R, P), and the number of the example within its row, -1 where there is none, (R, P), int64.
    """
    count = int(inside.sum())
    rows = max(1, -(-count // length))

    def laid(column: np.ndarray, filling: int) -> np.ndarray:
        flat = np.full(rows * length, filling, np.int64)
        flat[:count] = column
        return flat.reshape(rows, length)

    document = laid(np.nonzero(inside)[0], -1)
    document = np.where(document < 0, -1, document - document[:, :1])
    return {name: laid(value[inside], fill[name]) for name, value in values.items()}, document
