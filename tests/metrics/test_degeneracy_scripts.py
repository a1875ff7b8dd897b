"""Degenerate outputs in scripts other than Latin: ordinary text is none, repetition is one everywhere."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paragraphs import PARAGRAPHS

from expunge.metrics.text import degeneracy, is_degenerate

SENTENCE_END = r"(?<=[.。།។।։።᠃])\s*"


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_ordinary_text_is_not_degenerate(language):
    text = PARAGRAPHS[language]
    for part in (text, *filter(None, re.split(SENTENCE_END, text))):
        assert degeneracy(part) < 0.2


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_repetition_is_degenerate(language):
    text = PARAGRAPHS[language]
    sentence = re.split(SENTENCE_END, text)[0]
    word, letters = sentence.split()[0], sentence[:8].strip()
    loops = ((sentence + " ") * 4, sentence * 4, (word + " ") * 8, letters * 10, (letters + " ") * 8, text * 3, text[:60] + letters * 30)
    for loop in loops:
        assert is_degenerate(loop), loop


@pytest.mark.parametrize("answer", ["是。", "上海。", "はい。", "네.", "Да.", "نعم.", "हाँ।", "ใช่", "ང་", "1931年。"])
def test_a_short_answer_is_not_degenerate(answer):
    assert not is_degenerate(answer)


@pytest.mark.parametrize("language", ["Thai", "Hindi", "Khmer", "Russian", "Tamil"])
def test_letters_of_several_bytes_are_no_loop(language):
    # In UTF-8 the first byte or two of every letter are the same: zlib halves such a text and more, whatever it says.
    generator = torch.Generator().manual_seed(0)
    text = PARAGRAPHS[language]
    letters = "".join(text[i] for i in torch.randint(len(text), (2000,), generator=generator).tolist())
    assert degeneracy(letters) < 0.2


def test_ideographs_between_latin_words_are_no_noise():
    text = (
        "到 2021 年 4 月，许多流行的 GUI 应用程序，比如 GNOME 和 LibreOffice (LO) 已经被移植到了 Wayland 服务端显示协议。"
        "我发现 xterm, gitk, chromium, firefox, gimp 和 dia 还没有，参见 wayland(5), xwayland(1) 和 Debian wiki。"
    )
    assert len(text.encode()) >= 200
    assert not is_degenerate(text)


@given(st.sampled_from(list(PARAGRAPHS)), st.integers(4, 40), st.integers(8, 30))
def test_a_repeated_piece_of_any_text_is_degenerate(language, length, times):
    piece = PARAGRAPHS[language][:length].strip()
    assert is_degenerate((piece + " ") * times)


def test_characters_repeat_by_hand():
    # 12 characters, period 3: 9 four-grams, 3 of them distinct, 1 - 3/9. zlib: 12 one-byte codes in 6 bytes, 1 - 6/12/0.5 = 0.
    assert degeneracy("喜欢猫喜欢猫喜欢猫喜欢猫") == pytest.approx(2 / 3)
    # 8 words, period 2: 6 three-grams, 2 of them distinct: 1 - 2/6.
    assert degeneracy("да нет да нет да нет да нет") == pytest.approx(2 / 3)
