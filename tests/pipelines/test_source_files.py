from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
import zstandard

from lakehouse.errors import InputError
from pipelines import raw_blocks
from pipelines.raw_blocks import count_filled
from pipelines.source_files import SourceFile

LINE = b'{"texto": "se\xc3\xb1al de la estaci\xc3\xb3n"}\n'


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def text_of(path: Path) -> bytes:
    return b"".join(SourceFile.find(path).blocks(lambda size: None))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.jsonl.zstd"])
def test_what_a_file_is_compressed_with_is_read_off_its_bytes(tmp_path: Path, name: str) -> None:
    gzipped, zstandards = gzip.compress(LINE), zstandard.compress(LINE)
    for content in (LINE, gzipped, zstandards, gzipped + gzipped, zstandards + zstandards):
        expected = LINE * (2 if content in (gzipped * 2, zstandards * 2) else 1)
        assert text_of(written(tmp_path / name, content)) == expected


@pytest.mark.parametrize("encoding", ["latin1", "cp1252", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_in_another_encoding_is_refused_with_its_name_and_a_remedy(
    tmp_path: Path, encoding: str
) -> None:
    said = {
        "latin1": ("line 2, byte 22", "ISO-8859-1"),
        "cp1252": ("line 1, byte 11", "WINDOWS-1252"),
        "utf-16": ("line 1, byte 0", "UTF-16"),
        "utf-16-le": ("line 1, byte 0", "UTF-16LE"),
        "utf-32": ("line 1, byte 0", "UTF-32"),
    }
    first = '{"texto": "“"}\n' if encoding == "cp1252" else '{"texto": "a"}\n'
    content = (first + '{"b": "ñ"}\n' * 50).encode(encoding)
    path = written(tmp_path / "con espacio.jsonl", content)
    with pytest.raises(InputError) as refused:
        text_of(path)
    place, name = said[encoding]
    assert f"is not UTF-8 at {place}: it seems to be {name}; convert it" in str(refused.value)
    assert f"iconv -f {name} -t UTF-8 '{path}' > 'utf8-con espacio.jsonl'" in str(refused.value)
    assert content.decode(name).startswith(first)


def test_the_remedy_for_a_compressed_file_begins_with_taking_it_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl.gz", gzip.compress(b'{"b": "\xf1"}\n'))
    with pytest.raises(InputError, match=r"gzip -dc \S+ \| iconv -f ISO-8859-1 -t UTF-8 > utf8-a"):
        text_of(path)


def test_a_broken_line_or_two_in_a_file_of_utf8_are_left_for_bronze_to_judge(
    tmp_path: Path,
) -> None:
    few = LINE * 5 + b'{"texto": "se\xf1al"}\n' + LINE
    assert text_of(written(tmp_path / "a.jsonl", few)) == few
    plain = b'{"a": 1}\n' * 500 + b'{"a": "\xf1"}\n'
    assert text_of(written(tmp_path / "b.jsonl", plain)) == plain


def test_lines_of_two_encodings_are_refused_where_most_letters_are_not_utf8(tmp_path: Path) -> None:
    content = LINE * 5 + b'{"texto": "se\xf1al"}\n' * 6
    with pytest.raises(InputError, match="not UTF-8 at line 6"):
        text_of(written(tmp_path / "a.jsonl", content))


def test_text_that_is_mapped_may_hold_no_broken_line_at_all(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"texto\n" + "señal\n".encode() * 500 + b"se\xf1al\n")
    with pytest.raises(InputError, match="not UTF-8 at line 502"):
        SourceFile.find(path).digest()


def test_a_folder_gives_every_file_of_a_known_format_and_a_pattern_what_it_matches(
    tmp_path: Path,
) -> None:
    for name in ("b.jsonl.zst", "a.csv", "dentro/c.jsonl", "leeme.md"):
        written(tmp_path / name, LINE)
    places = [tmp_path, tmp_path / "*.csv", tmp_path / "a.csv"]
    found = [file.path.name for file in SourceFile.find_all(places)]
    assert found == ["a.csv", "b.jsonl.zst", "c.jsonl"]
    with pytest.raises(InputError, match="matches no file"):
        SourceFile.find_all([tmp_path / "*.parquet"])
    (tmp_path / "vacia").mkdir()
    with pytest.raises(InputError, match="holds no file of a known format"):
        SourceFile.find_all([tmp_path / "vacia"])


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_blocks, "BLOCK_BYTES", 100)
    monkeypatch.setattr(raw_blocks, "LONGEST_LINE", 1000)
    path = written(tmp_path / "a.jsonl", b"{}\n" + b"x" * 5000)
    with pytest.raises(InputError, match="the line that begins at byte 3 is longer than"):
        text_of(path)


def test_blank_lines_are_not_counted() -> None:
    content = b"\n{}\n \r\n\t\n{}\r\n\n{}"
    filled = [line for line in io.BytesIO(content) if line.strip()]
    assert count_filled(content) == len(filled) == 3
