"""Where the right answer stands among all candidates: what classification and retrieval have in common.

Candidates that are equally near stand in their order, as in a stable sort: a model that embeds everything alike is
right as often as a guess, and of two classes with the same name the first gets all images, as with an argmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

_QUERY_ROWS = 1024  # similarities are made for so many queries at a time, so that memory stays bounded
NOWHERE = torch.iinfo(torch.int64).max  # of a query that nothing can be right for

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """float64 [n] each: of every image the answers that were right, and the questions asked about it."""

    right: Floats
    asked: Floats

    @property
    def share(self) -> float:
        """Right answers among all, in [0, 1]."""
        return float(self.right.sum() / self.asked.sum())


def wrong_ahead(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    right: Callable[[slice], torch.Tensor],
    *,
    there: torch.Tensor | None = None,
) -> torch.Tensor:
    """int64 [n]: how many wrong candidates stand before the first right one; NOWHERE where none is right.

    Args:
        queries: [n, d].
        candidates: [m, d].
        right: of a slice of queries bool [rows, m], which candidates are right.
        there: bool [m]; candidates that are not there stand behind all others, and are right for nobody. None: all are.
    """
    ahead = [torch.zeros(0, dtype=torch.int64, device=queries.device)]
    for start in range(0, len(queries), _QUERY_ROWS):
        rows = slice(start, min(start + _QUERY_ROWS, len(queries)))
        similarity = queries[rows] @ candidates.T
        is_right = right(rows)
        if there is not None:
            similarity = similarity.masked_fill(~there, -torch.inf)
            is_right = is_right & there
        ahead.append(_ahead(similarity, is_right))
    return torch.cat(ahead)


def _ahead(similarity: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    best, place = similarity.masked_fill(~right, -torch.inf).max(dim=1, keepdim=True)
    order = torch.arange(similarity.shape[1], device=similarity.device)
    first = torch.where(right & (similarity == best), order, len(order)).amin(dim=1, keepdim=True)
    before = (similarity > best) | ((similarity == best) & (order < first))
    ahead = (before & ~right).sum(dim=1)
    return torch.where(right.gather(1, place).squeeze(1), ahead, NOWHERE)


def hits(ahead: torch.Tensor, k: int) -> Floats:
    """float64 [n]: 1 where a right candidate is among the k first."""
    found: Floats = (ahead < k).double().cpu().numpy()
    return found
