"""Random numbers that are a pure function of what they decide.

Each number is a hash of the seed, the name of the question and the numbers of the things asked about. So a row
never depends on how many rows were drawn before it: the same account lives the same life in any order of work
and up to any `as_of`, which is what makes an earlier extract a part of a later one.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def _mix(x: Array) -> Array:
    """The finaliser of splitmix64: every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


class Dice:
    """Answers questions about numbered things; the same question about the same thing has one answer."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _hash(self, question: str, keys: Sequence[Array]) -> Array:
        salt = (self._seed * _GOLDEN + zlib.crc32(question.encode()) * 0xD1342543DE82EF95) & _MASK
        state = np.asarray(salt, dtype=np.uint64)
        for key in keys:
            state = _mix(state ^ (key.astype(np.uint64) * np.uint64(_GOLDEN)))
        return state

    def uniform(self, question: str, *keys: Array) -> Array:
        """Float64 in [0, 1)."""
        return (self._hash(question, keys) >> np.uint64(11)) * 2.0**-53

    def normal(self, question: str, *keys: Array) -> Array:
        """Float64, mean 0 and variance 1, within +-3.5 (a sum of four uniforms)."""
        bits = self._hash(question, keys)
        total = sum(((bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.float64) for part in range(4))
        return np.asarray((total / 65536.0 - 2.0) * 3.0**0.5)

    def whole(self, question: str, low: int, high: int, *keys: Array) -> Array:
        """Int64 from `low` to `high`, both included."""
        return low + (self.uniform(question, *keys) * (high - low + 1)).astype(np.int64)

    def pick(self, question: str, weights: Sequence[float], *keys: Array) -> Array:
        """Position in `weights`, each as likely as its weight."""
        edges = np.cumsum(np.asarray(weights, dtype=np.float64))
        return np.searchsorted(edges / edges[-1], self.uniform(question, *keys), side="right").astype(np.int64)

    def count(self, question: str, mean: Array, most: int, *keys: Array) -> Array:
        """Poisson number of events with the given means, cut at `most`."""
        chance = self.uniform(question, *keys)
        term = np.exp(-mean)
        below = term.copy()
        events = np.zeros(len(chance), dtype=np.int64)
        for number in range(1, most + 1):
            events += chance >= below
            term = term * mean / number
            below += term
        return events
