import pytest

from perception.errors import UserError
from perception.sizes import format_size, parse_size


@pytest.mark.parametrize(("text", "size_hw"), [("384x640", (384, 640)), (" 96X160 ", (96, 160))])
def test_sizes_are_height_by_width(text, size_hw):
    assert parse_size(text) == size_hw
    assert parse_size(format_size(size_hw)) == size_hw


@pytest.mark.parametrize("text", ["", "384", "0x640", "384x", "384x640x3", "-1x2", "3.5x2"])
def test_anything_else_is_refused_with_the_option(text):
    with pytest.raises(UserError, match=r"--frame.*HEIGHTxWIDTH"):
        parse_size(text, "--frame")
