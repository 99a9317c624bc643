"""The numbers on the wire are fixed."""

from __future__ import annotations

from mirai.protocol.messages import EVERYWHERE, Kind, Status


def numbers(of):
    return {name: number for name, number in vars(of).items() if name.isupper()}


def test_numbers_keep_their_meaning():
    """A host and its daemons may be of different versions, as long as they speak the same protocol."""
    assert numbers(Kind) == {
        "HELLO": 1,
        "SETUP": 2,
        "BLOB": 3,
        "FORGET": 4,
        "TASK": 5,
        "RESULT": 6,
        "BYE": 7,
        "CANCEL": 8,
        "RECALL": 9,
        "RECALLED": 10,
        "STACK": 11,
        "EXIT": 12,
        "REFUSED": 13,
        "CHALLENGE": 14,
        "PROOF": 15,
        "PING": 16,
        "ASK": 17,
        "SEGMENT": 18,
        "FREE": 19,
        "DROP": 20,
        "TRIM": 21,
    }
    assert numbers(Status) == {"VALUE": 0, "ERROR": 1, "INTERRUPTED": 2, "CANCELLED": 3}
    assert EVERYWHERE == 1
