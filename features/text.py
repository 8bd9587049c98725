"""What can be measured of a text in any language: the descriptors that drift is watched on."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

DESCRIPTORS = (
    "char_count",
    "word_count",
    "digit_share",
    "upper_share",
    "punctuation_share",
    "mean_word_length",
)


def describe(texts: pa.Array) -> pa.Table:
    """Return the descriptors of every text, in order; a missing text is measured as empty.

    Shares are of all characters, `upper_share` of the letters; of nothing, they are 0.

    >>> described = describe(pa.array(["Casa 12", None]))
    >>> described["char_count"].to_pylist(), described["upper_share"].to_pylist()
    ([7, 0], [0.25, 0.0])
    """
    known = pc.fill_null(texts, "")
    characters = pc.utf8_length(known)
    words = pc.count_substring_regex(known, r"\S+")
    visible = pc.subtract(characters, pc.count_substring_regex(known, r"\s"))
    return pa.table(
        {
            "char_count": pc.cast(characters, pa.int64()),
            "word_count": pc.cast(words, pa.int64()),
            "digit_share": _share(pc.count_substring_regex(known, r"\pN"), characters),
            "upper_share": _share(
                pc.count_substring_regex(known, r"\p{Lu}"), pc.count_substring_regex(known, r"\pL")
            ),
            "punctuation_share": _share(pc.count_substring_regex(known, r"[\pP\pS]"), characters),
            "mean_word_length": _share(visible, words),
        }
    )


def _share(part: pa.Array, whole: pa.Array) -> pa.Array:
    floor = pc.max_element_wise(pc.cast(whole, pa.float64()), 1.0)
    return pc.divide(pc.cast(part, pa.float64()), floor)


def folded(text: str) -> str:
    """Lower the case, drop accents and make one space of what is neither letter nor digit.

    >>> folded("¡Petición URGENTE, por favor!")
    'peticion urgente por favor'
    """
    # Taking a letter apart can bring a capital (𝕬 is A), and lowering one an accent (İ).
    plain = unicodedata.normalize("NFKD", text).lower()
    bare = unicodedata.normalize("NFKD", plain)
    kept = (c if c.isalnum() else " " for c in bare if not unicodedata.combining(c))
    return " ".join("".join(kept).split())
