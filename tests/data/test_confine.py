"""No name in a data file reaches a file outside its root, and no address is fetched unasked."""

import os
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepsight.data.confine import confined, picture_at
from keepsight.types import KeepsightError

PIECES = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "b.png",
        "link",
        "out",
        "~",
        "%2e%2e",
        "..%2f",
        "C:",
        "\\..\\",
        "x" * 300,
        "\ud800",
        "\0",
        "é",
        "A",
    ]
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """root/a/b.png and root/b.png inside; outside a secret, with links that lead to it; and links in a circle."""
    top = tmp_path_factory.mktemp("confine")
    root = top / "root"
    (root / "a").mkdir(parents=True)
    for file in (root / "b.png", root / "a" / "b.png", top / "secret.png", top / "b.png"):
        file.write_bytes(b"x")
    (root / "link").symlink_to("a")
    (root / "out").symlink_to(top)
    (root / "out.png").symlink_to(top / "secret.png")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe.png")
    return root


@given(pieces=st.lists(PIECES, min_size=1, max_size=6), separator=st.sampled_from(["/", "//", "\\"]))
@settings(max_examples=300, deadline=None)
def test_whatever_is_found_lies_inside(root, pieces, separator):
    try:
        found = confined(root, separator.join(pieces))
    except KeepsightError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert found.resolve().is_relative_to(root.resolve()) and found.is_file()


@given(st.text(alphabet=string.printable + "\u202eé\ud800", max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_picture_or_an_error(root, text):
    try:
        media = picture_at(root, text)
    except KeepsightError:
        return
    assert media.path.resolve().is_relative_to(root.resolve())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../b.png", "leaves"),
        ("a/../../b.png", "leaves"),
        ("/etc/passwd", "leaves"),
        ("out/secret.png", "leaves"),
        ("out.png", "leaves"),
        ("loop", "cannot be looked up|no file"),
        ("pipe.png", "no file"),
        ("a", "no file"),
        ("..%2fb.png", "no file"),
        ("%2e%2e/b.png", "no file"),
        ("B.PNG", "no file"),
        ("a\\b.png", "no file .*; write it with /"),
        ("C:\\pictures\\b.png", "no file .*; write it with /"),
        ("\\\\server\\b.png", "no file .*; write it with /"),
        ("x" * 5000, "cannot be looked up: File name too long"),
        ("a\0b", "contains a NUL"),
        ("file:///etc/passwd", "given as file: is not read"),
        ("ftp://x.org/a.png", "given as ftp: is not read"),
        ("data:image/png;base64,AAAA", "given as data: is not read"),
        ("https://x.org/a.png?key=1", r"https://x\.org/a\.png is remote, and remote pictures are off"),
        ("HTTP://x.org/a.png", "remote pictures are off"),
    ],
)
def test_what_leaves_or_is_no_file_is_named(root, name, message):
    with pytest.raises(KeepsightError, match=message):
        picture_at(root, name)


@pytest.mark.parametrize("name", ["b.png", "a/b.png", "link/b.png", "a/../b.png", "./b.png"])
def test_what_stays_inside_is_read(root, name):
    assert picture_at(root, name).read() == b"x"


def test_an_absolute_path_inside_is_inside(root):
    assert confined(root, str(root / "b.png")) == root / "b.png"
