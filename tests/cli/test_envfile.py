"""What a file of settings may look like, and that a mistake in it is named without being quoted."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.cli.options import parse
from tracket_async.errors import ConfigurationError


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=value", "value"),
        ("  KEY = value  ", "value"),
        ("export KEY=value", "value"),
        ("export\tKEY=value", "value"),
        ("KEY=", ""),
        ("KEY=''", ""),
        ('KEY=""', ""),
        ("KEY='it is #1 $HOME \\n'", "it is #1 $HOME \\n"),
        ('KEY="two words"', "two words"),
        ('KEY="a\\"b\\\\c\\$d\\`e\\nf\\xg"', 'a"b\\c$d`e\nf\\xg'),
        ("KEY=two words", "two words"),
        ("KEY=value # a comment", "value"),
        ("KEY='value'# a comment", "value"),
        ('KEY="value" # a comment', "value"),
        ("KEY=a#b", "a#b"),
        ("KEY=a=b==", "a=b=="),
        ("KEY=ключ", "ключ"),
        ("\ufeffKEY=value", "value"),
        ("KEY=value\r", "value"),
        ("KEY=first\nKEY=last", "last"),
    ],
)
def test_a_setting_is_read(line, value):
    assert parse(line, name="it") == {"KEY": value}


def test_blank_lines_and_comments_are_skipped():
    assert parse("\n  # a comment\n\nA=1\n#B=2\n", name="it") == {"A": "1"}


@pytest.mark.parametrize(
    "line",
    [
        "s3cret",
        "=s3cret",
        "1KEY=s3cret",
        "KEY-WITH-DASH=s3cret",
        "KEY='s3cret",
        'KEY="s3cret',
        "KEY='s3cret'more",
        "KEY=s3'cret",
        "KEY=#s3cret",
    ],
)
def test_what_is_no_setting_is_named_by_its_number_and_never_shown(line):
    with pytest.raises(ConfigurationError, match=r"^my file, line 3 is not a setting") as caught:
        parse(f"# one\nA=2\n{line}\n", name="my file")
    assert "s3cret" not in str(caught.value)


@given(st.text())
def test_any_text_gives_settings_or_a_configuration_error(text):
    with contextlib.suppress(ConfigurationError):
        assert isinstance(parse(text, name="it"), dict)


@given(st.text(st.characters(exclude_characters="'", exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_any_value_without_line_breaks_can_be_written_in_single_quotes(value):
    assert parse(f"KEY='{value}'", name="it") == {"KEY": value}
