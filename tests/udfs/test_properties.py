"""What is kept of a tracker's further properties, and what of a page's path: nothing in which to find a person."""

import json
import random
import string

import pytest

from udfs.cleaning.properties import kept, scrubbed


def test_only_names_on_the_list_are_kept_in_the_records_order() -> None:
    said: dict[str, str | int | float | bool | None] = {"b": 1, "a": "x", "c": True, "d": 0.5, "e": None, "f": ""}
    assert list(kept(said, ["f", "e", "d", "c", "a"]).items()) == [("a", "x"), ("c", True), ("d", 0.5), ("f", "")]
    assert kept(said, ()) == {}


@pytest.mark.parametrize(
    "text",
    [
        "x" * 129,
        "ada@example.org",
        "write to ada@example.org, please",
        "Ada <a@b>",
        "192.168.0.1",
        "from 10.0.0.1:8080",
        "2001:db8::1",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "[::1]:80",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "https://shop.example/p?id=7",
        "https://shop.example/p?token",
        "/p?token=7",
        "https://shop.example/#access_token=abc",
        "447911123456",
        "+44 7911 123456",
        "+44 (7911) 12-34-56",
        "4111 1111 1111 1111",
        "4111\u20111111\u20111111\u20111111",
        "123.456.789",
        "٠١٢٣٤٥٦٧٨",
        "51.50735, -0.12776",
        "0044/7911/123456",
    ],
)
def test_a_text_in_which_a_person_could_be_found_is_dropped_even_where_its_name_is_allowed(text: str) -> None:
    assert kept({"a": text, "b": "fine"}, {"a", "b"}) == {"b": "fine"}


@pytest.mark.parametrize(
    "text",
    [
        "x" * 128,
        "pro",
        "12345678",
        "2026-01-01",
        "2026-01-01T12:00:00Z",
        "12:00:00",
        "10.5",
        "std::vector",
        "https://shop.example/p/7",
        "what?",
        "a = b",
        "@ada",
        "50 % off, now only 19.99",
        "größer",
    ],
)
def test_a_text_that_says_nothing_of_a_person_stays(text: str) -> None:
    assert kept({"a": text}, {"a"}) == {"a": text}


@pytest.mark.parametrize(
    ("value", "stays"),
    [
        (0, True),
        (99_999_999, True),
        (100_000_000, False),
        (-447_911_123_456, False),
        (4111111111111111.0, False),
        (51.507351, True),
        (10**400, False),
        (float("inf"), False),
        (float("nan"), False),
    ],
)
def test_a_number_as_long_as_a_telephone_number_is_dropped(value: float, stays: bool) -> None:
    assert bool(kept({"a": value}, {"a"})) is stays


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("/", "/"),
        ("/games", "/games"),
        ("Home", "Home"),
        ("/p/1002352692", "/p/1002352692"),
        ("/2026/01/01/story-12", "/2026/01/01/story-12"),
        ("/2026-01-01/story", "/2026-01-01/story"),
        ("/caf%C3%A9/größe", "/caf%C3%A9/größe"),
        ("/a:b/c+d", "/a:b/c+d"),
        ("/@ada", "/@ada"),
        ("/v1.2.3/api", "/v1.2.3/api"),
        ("/p?user=ada", "/p"),
        ("/p#ada", "/p"),
        ("?user=ada", "/"),
        ("/u/ada@example.org/edit", "/u/*/edit"),
        ("/u/ada%40example.org", "/u/*"),
        ("ada@example.org", "*"),
        ("https://ada:secret@shop.example/p", "https://*/p"),
        ("/ip/192.168.0.1/x", "/ip/*/x"),
        ("/ip/2001:db8::1", "/ip/*"),
        ("/ip/2001%3Adb8%3A%3A1", "/ip/*"),
        ("/call/+447911123456", "/call/*"),
        ("/call/%2B447911123456", "/call/*"),
        ("/call/07911-123-456", "/call/*"),
        ("/call/07911%20123%20456", "/call/*"),
        ("/call/(07911) 123456 now", "/call/*"),
        ("/card/4111.1111.1111.1111", "/card/*"),
        ("/a//b/", "/a//b/"),
    ],
)
def test_a_page_keeps_its_path_without_its_person(page: str, expected: str) -> None:
    assert scrubbed(page) == expected
    assert scrubbed(expected) == expected


def test_no_text_raises_and_what_is_kept_can_be_written() -> None:
    some = random.Random(8)
    alphabets = (string.printable, "0123456789.:@%?#+- /", "Aé\ud800\U0001f600٣%/", "0" * 9 + ":.")
    for _ in range(3000):
        text = "".join(some.choices(some.choice(alphabets), k=some.randrange(512)))
        scrubbed(text)
        json.dumps(kept({"a": text}, {"a"}))


@pytest.mark.parametrize("text", ["1 " * 256, "a@" * 256, ":" * 512, "1:" * 256, "1." * 256, "://" * 170, "+" * 512])
def test_the_worst_page_is_read_in_no_time(text: str) -> None:
    for number in range(200):
        scrubbed(f"{number}{text}"[:512])
        kept({"a": f"{number}{text}"[:128]}, {"a"})
