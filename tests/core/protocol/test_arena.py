"""Blocks are disjoint, and what is given back can be taken again."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mirai.protocol.arena import PAGE, Space, lease_of
from mirai.protocol.wire import BLOCK, FrameError


class Spaces(RuleBasedStateMachine):
    """A `Space` against a model that knows each page by its number, and who has it."""

    @initialize(limit=st.sampled_from([0, 5 * PAGE, 40 * PAGE, 1000 * PAGE]), segment=st.integers(1, 12))
    def begin(self, limit, segment):
        self.space = Space(limit, segment=segment * PAGE)
        self.limit = limit
        self.taken: dict[tuple[int, int], int] = {}  # pages, by place
        self.segments: dict[int, float] = {}  # when each was used last
        self.now = 0.0

    @rule(size=st.integers(0, 20 * PAGE))
    def take(self, size):
        self.now += 1
        pages = -(-max(1, size) // PAGE)
        place = self.space.take(size, self.now)

        if place is None:
            assert all(gap < pages for gap in self.gaps()), "it fits in a segment that is there"
            assert self.space.total + pages * PAGE > self.limit, "the limit allows another segment"
            return
        number, start = place
        assert start % PAGE == 0
        assert start + pages * PAGE <= self.space.size(number)
        mine = set(range(start // PAGE, start // PAGE + pages))
        assert not mine & self.pages_of(number), "somebody has that already"
        self.taken[place] = pages
        self.segments[number] = self.now

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give_back(self, data):
        self.now += 1
        place = data.draw(st.sampled_from(sorted(self.taken)))
        self.space.give_back(*place, self.now)
        del self.taken[place]
        self.segments[place[0]] = self.now

    @rule(ago=st.integers(0, 5))
    def drop_unused(self, ago):
        unused = self.space.unused(self.now - ago)
        held = {number for number, _ in self.taken}

        assert set(unused) == {
            number for number, used in self.segments.items() if number not in held and used <= self.now - ago
        }
        for number in unused:
            self.space.drop(number)
            del self.segments[number]

    @invariant()
    def the_limit_holds(self):
        assert self.space.total <= self.limit
        assert self.space.total == sum(map(self.space.size, self.segments))

    def pages_of(self, number):
        """Those of a segment that are taken."""
        return {
            page
            for (segment, start), pages in self.taken.items()
            if segment == number
            for page in range(start // PAGE, start // PAGE + pages)
        }

    def gaps(self):
        """How many pages in a row are free, for each row."""
        for number in self.segments:
            taken, row = self.pages_of(number), 0
            for page in range(self.space.size(number) // PAGE):
                if page in taken:
                    yield row
                    row = 0
                else:
                    row += 1
            yield row


Spaces.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSpaces = Spaces.TestCase


def test_what_was_used_last_is_used_next():
    """Memory that was written to before is five times as fast as fresh memory."""
    space = Space()
    first = space.take(100_000_000, 0.0)
    space.give_back(*first, 1.0)

    assert space.take(100_000_000, 2.0) == first


def test_a_frame_that_names_no_block_is_refused():
    """Its sender does not speak the protocol."""
    with pytest.raises(FrameError, match="in 5 bytes, not in 32"):
        lease_of(b"12345")

    assert lease_of(BLOCK.pack(1, 2, 3, 4)) == (1, 2, 3, 4)
