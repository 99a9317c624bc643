"""An independent random stream for each task."""

from __future__ import annotations


def stream(root: int, place: int, use: str = "") -> list[int]:
    """The state from which a task's random numbers begin: 8 words of 32 bits.

    A counter keyed by the seed and passed through SHA-256: what it gives for two places, or two seeds, has
    nothing in common, so the streams do not depend on who runs the tasks, nor on their order.

    Args:
        root: the seed of the profile.
        place: the task's place among those of its profile, from 0.
        use: of several streams of one task, which.

    Source: counter-based generators, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011);
    here a cryptographic hash stands for their cipher, as it is in the standard library.
    """
    import hashlib

    digest = hashlib.sha256(f"mirai {root} {place}{use}".encode()).digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
