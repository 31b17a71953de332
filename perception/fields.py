"""Types of fields that are one argument on the command line, for `perception.arguments`."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import tyro

from perception.errors import UserError
from perception.sizes import format_size, parse_size


def parse_names(text: str, option: str = "") -> tuple[str, ...]:
    """det,lane -> ("det", "lane"); nothing for an empty text. Raises UserError for an empty name
    between others and for one that is there twice."""
    names = tuple(name.strip() for name in text.split(",")) if text.strip() else ()
    if not all(names) or len(set(names)) < len(names):
        raise UserError(
            f"{option} {text!r}: a name is empty or there twice; write NAME,NAME".strip()
        )
    return names


def text_spec(
    parse: Callable[[str], Any], show: Callable[[Any], str], metavar: str
) -> tyro.constructors.PrimitiveConstructorSpec[Any]:
    """How tyro reads and shows a tuple or dict that is one argument."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, tuple | dict),
        str_from_instance=lambda value: [show(value)],
    )


Names = Annotated[tuple[str, ...], text_spec(parse_names, ",".join, "NAME,NAME")]
Tasks = Annotated[
    tuple[str, ...], text_spec(partial(parse_names, option="--tasks"), ",".join, "NAME,NAME")
]
Size = Annotated[tuple[int, int], text_spec(parse_size, format_size, "HEIGHTxWIDTH")]
FrameSize = Annotated[
    tuple[int, int], text_spec(partial(parse_size, option="--frame"), format_size, "HEIGHTxWIDTH")
]
