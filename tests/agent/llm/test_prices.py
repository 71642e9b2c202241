"""What tokens cost: published prices, and those that a person names."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.llm.prices import FILE, Price, price_of
from tools.io.errors import UsageError


def test_money_is_per_million_tokens() -> None:
    assert Price(read=2.0, write=10.0).of(500_000, 100_000) == pytest.approx(2.0)


def test_a_price_of_ones_own_comes_first(tmp_path: Path) -> None:
    listed = price_of("openai:gpt-4o", tmp_path)
    assert listed is not None
    assert price_of("openai:mine", tmp_path) is None
    (tmp_path / FILE).write_text('["openai:mine"]\nread = 0.5\nwrite = 2.0\n\n["openai:gpt-4o"]\nread = 0\nwrite = 0\n')
    assert price_of("openai:mine", tmp_path) == Price(read=0.5, write=2.0)
    assert price_of("openai:gpt-4o", tmp_path) == Price(read=0, write=0) != listed


@pytest.mark.parametrize(
    ("text", "says"), [("read = ", "is not TOML"), ('["a:b"]\nread = -1\nwrite = 1\n', "greater than or equal to 0")]
)
def test_a_file_that_cannot_be_read_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        price_of("openai:mine", tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)
