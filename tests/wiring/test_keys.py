"""Where the pseudonym keys come from, and what is said when they are no good; a secret is never shown."""

from pathlib import Path

import pytest

from jobs.wiring import Refusal
from jobs.wiring.keys import KEY_VARIABLE, Key, key_ring
from schemas.settings import Pseudonyms

NEWER = Key("k2", b"the-newer-secret")
OLDER = Key("k1", b"the-older-secret")
BOTH = "k2 the-newer-secret\nk1 the-older-secret\n"


def conf(key: str = "", key_file: object = "") -> Pseudonyms:
    return Pseudonyms(key_id="k7", key=key, key_file=str(key_file))


def written(folder: Path, body: bytes) -> Path:
    file = folder / "pseudonym-key"
    file.write_bytes(body)
    return file


def test_the_first_line_of_a_key_file_is_in_use_and_those_below_are_still_known(tmp_path: Path) -> None:
    assert key_ring(conf(key_file=written(tmp_path, BOTH.encode())), {}) == (NEWER, OLDER)


def test_a_file_of_one_bare_secret_goes_by_the_id_of_conf(tmp_path: Path) -> None:
    assert key_ring(conf(key_file=written(tmp_path, b"c2VjcmV0+/=\n")), {}) == (Key("k7", b"c2VjcmV0+/="),)


def test_a_secret_need_not_be_text(tmp_path: Path) -> None:
    assert key_ring(conf(key_file=written(tmp_path, b"\xff\xfe;\x80\x81\x82\x83\x84")), {}) == (
        Key("k7", b"\xff\xfe;\x80\x81\x82\x83\x84"),
    )


def test_one_line_with_an_id_goes_by_that_id() -> None:
    assert key_ring(conf("k2 the-newer-secret"), {}) == (NEWER,)


@pytest.mark.parametrize("ending", ["\n", "\r\n", ";", " ; ", "\n\n"])
def test_lines_end_as_their_writer_likes(ending: str) -> None:
    said = f"k2  the-newer-secret{ending}k1\tthe-older-secret{ending}"
    assert key_ring(conf(), {KEY_VARIABLE: said}) == (NEWER, OLDER)


def test_the_environment_comes_before_the_file_and_the_file_before_conf(tmp_path: Path) -> None:
    file = written(tmp_path, b"k2 the-newer-secret")
    assert key_ring(conf("k3 the-third-secret", file), {KEY_VARIABLE: "k1 the-older-secret"}) == (OLDER,)
    assert key_ring(conf("k3 the-third-secret", file), {}) == (NEWER,)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "the pseudonym key needs at least 8 bytes, got 0; set {variable} or pseudonyms.key_file"),
        (" \n;", "the pseudonym key needs at least 8 bytes, got 0; set {variable} or pseudonyms.key_file"),
        ("shorter", "the pseudonym key needs at least 8 bytes, got 7; set {variable} or pseudonyms.key_file"),
        ("k2 ", "the pseudonym key needs at least 8 bytes, got 2; set {variable} or pseudonyms.key_file"),
        (
            "k2 the-newer-secret;k1 shorter",
            ", line 2: the pseudonym key needs at least 8 bytes, got 7; set {variable} or pseudonyms.key_file",
        ),
        ("key2 the-newer-secret", ", line 1: expected a key id such as k2, a blank and the secret"),
        ("k12345 the-newer-secret", ", line 1: expected a key id such as k2, a blank and the secret"),
        ("k2 the-newer-secret;;the-older-secret", ", line 3: expected a key id such as k2, a blank and the secret"),
        ("the-newer-secret;the-older-secret", ", line 1: expected a key id such as k2, a blank and the secret"),
        (
            "k2 the-newer-secret;k2 the-older-secret",
            ": the key id k2 stands twice; a new key needs an id that was never in use",
        ),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(said: str, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        key_ring(conf(), {KEY_VARIABLE: said})
    shown = message.format(variable=KEY_VARIABLE)
    assert str(caught.value) == KEY_VARIABLE + (shown if shown[0] in ",:" else f": {shown}")
    assert "secret" not in str(caught.value).replace("the secret", "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"^pseudonyms\.key_file: cannot read .*/nowhere: No such file or directory$"):
        key_ring(conf(key_file=tmp_path / "nowhere"), {})
