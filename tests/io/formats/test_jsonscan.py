"""Where an array ends, in one piece or in many."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.io.formats.jsonscan import Scanner

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(JSON), st.text(), st.data())
def test_the_end_is_found_however_the_text_is_cut(value, tail, data):
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    whole = text + tail
    cut = data.draw(st.integers(0, len(text) - 1))
    scanner = Scanner()
    assert scanner.feed(whole[:cut]) is None
    assert scanner.feed(whole[cut:]) == len(text) - cut
    assert Scanner().feed("noise" + whole, 5) == len(text) + 5


@pytest.mark.parametrize("text", ["[", '["]', '["\\"]', '["\\\\\\"]', "[[]", "[{]"])
def test_open_text_has_no_end(text):
    assert Scanner().feed(text) is None
