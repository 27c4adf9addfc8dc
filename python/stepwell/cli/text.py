"""Text for a terminal: nothing that came from outside may move the cursor, recolour, or turn its own letters round."""

import unicodedata
from typing import Final

_SHOWN: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: object, limit: int = 200) -> str:
    """The text in one line, cut, with control, bidirectional and other invisible characters written out."""
    full = str(text)
    cut = full if len(full) <= limit else full[: limit - 1] + "…"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_shown(char) for char in cut)


def _shown(char: str) -> str:
    if char in _SHOWN:
        return _SHOWN[char]
    # Cc control, Cf format (bidi marks too), Cs surrogates, Co private, Cn unassigned, Zl and Zp separators.
    if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return char


def size_of_time(milliseconds: float) -> str:
    """A duration as people read it."""
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 120_000:
        return f"{milliseconds / 1000:.2f} s"
    return f"{milliseconds / 60_000:.1f} min"
