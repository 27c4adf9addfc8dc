"""What a type checker sees of codecs: nothing here runs."""

import base64
from typing import Any

from stepwell import Codec
from stepwell.runtime import values


class Plain:
    """Any class with the two methods is one."""

    def encode(self, value: object) -> str:
        return base64.b64encode(values.encode(value)).decode()

    def decode(self, value: Any, type: Any) -> object:
        return values.decode(base64.b64decode(value), annotation=type)


class Lacking:
    def encode(self, value: object) -> str:
        return ""


def codecs() -> None:
    fits: Codec = Plain()
    data: bytes = values.encode([1], fits, list[int])
    values.decode(data, fits, list[int])
    values.encode([1], Lacking())  # pyright: ignore[reportArgumentType]
