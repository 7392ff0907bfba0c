"""Random numbers that belong to a history: the same for any number of threads.

A stream is one 64-bit word that grows by the golden ratio and is mixed (SplitMix64: Steele, Lea, Flood,
OOPSLA 2014, doi:10.1145/2660193.2660195); each history starts its own from (seed, number of the history).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_A = np.uint64(0xBF58476D1CE4E5B9)
MIX_B = np.uint64(0x94D049BB133111EB)
S27, S30, S31, S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
TO_UNIT = 1.0 / 9007199254740992.0


@compiled
@no_type_check
def mixed(word):
    """The word with every bit depending on every bit."""
    word = (word ^ (word >> S30)) * MIX_A
    word = (word ^ (word >> S27)) * MIX_B
    return word ^ (word >> S31)


@compiled
@no_type_check
def start_stream(stream, seed, history):
    """Set the one word of `stream` for a history."""
    stream[0] = mixed(mixed(np.uint64(seed) + GOLDEN) ^ (np.uint64(history) * GOLDEN + MIX_A))


@compiled
@no_type_check
def beside(stream):
    """A number in (0, 1) of no relation to those of `uniform`, which go on as if it had not been asked for."""
    return (np.float64(mixed(stream[0] ^ MIX_A) >> S11) + 0.5) * TO_UNIT


@compiled
@no_type_check
def uniform(stream):
    """A number in (0, 1)."""
    stream[0] += GOLDEN
    return (np.float64(mixed(stream[0]) >> S11) + 0.5) * TO_UNIT
