from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import raw_blocks

PIECES = st.sampled_from(
    [b"{}", b"\n", b"\r\n", b" ", b"\xef\xbb\xbf", b"a" * 30, b"\x0b", b"\xff"]
)


@given(st.lists(PIECES).map(b"".join), st.integers(1, 40))
def test_blocks_hold_every_line_that_is_not_blank_with_its_number_and_place(
    content: bytes, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(raw_blocks, "BLOCK_BYTES", size)
        found = [
            (int(number), int(offset), block.lines[place])
            for block in raw_blocks.raw_blocks(io.BytesIO(content))
            for place, (number, offset) in enumerate(zip(block.numbers, block.offsets, strict=True))
        ]
    expected, offset = [], 0
    for number, line in enumerate(io.BytesIO(content), start=1):
        mark = 3 if number == 1 and line.startswith(b"\xef\xbb\xbf") else 0
        text = line[mark:].removesuffix(b"\n").removesuffix(b"\r")
        if text.strip():
            expected.append((number, offset + mark, text))
        offset += len(line)
    assert found == expected
