"""Refusals in the languages of the closed list, and what the list does not say."""

from pathlib import Path

import pytest
import yaml
from paragraphs import PARAGRAPHS

import expunge.metrics
from expunge.metrics.text import is_refusal

REFUSALS = {
    "Arabic": ["لا أعرف من هو هذا الكاتب.", "عذراً، لا أستطيع الإجابة عن هذا السؤال.", "لَا أَعْلَمُ."],
    "Chinese": ["我不知道这位作家是谁。", "抱歉，我无法回答这个问题。", "作为一个AI，我没有个人信息。"],
    "French": ["Je ne sais pas qui c’est.", "Désolé, je n'ai pas d'informations sur cet auteur."],
    "German": ["Das weiß ich nicht.", "ICH HABE KEINE INFORMATIONEN darüber.", "Ich kann Ihnen nicht helfen."],
    "Hindi": ["मुझे नहीं पता कि वह कौन है।", "क्षमा करें, मैं इस प्रश्न का उत्तर नहीं दे सकता।"],
    "Japanese": ["申し訳ありませんが、お答えできません。", "その人については知りません。"],
    "Korean": ["잘 모르겠습니다.", "죄송하지만 그 정보는 제공할 수 없습니다."],
    "Portuguese": ["Não sei quem é.", "Lamento, mas não tenho informações sobre isso."],
    "Russian": ["Я не знаю, кто это.", "Извините, но я не могу ответить на этот вопрос.", "У меня нет информации об этом."],
    "Spanish": ["No lo sé.", "Lo siento, pero no puedo ayudarte.", "Desconozco quién es."],
}


@pytest.mark.parametrize("language", REFUSALS)
def test_a_common_refusal_is_recognised(language):
    for text in REFUSALS[language]:
        assert is_refusal(text), text


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_an_answer_is_no_refusal(language):
    assert not is_refusal(PARAGRAPHS[language])


def test_every_phrase_of_the_list_is_found_and_only_at_the_beginning():
    listed = yaml.safe_load((Path(expunge.metrics.__file__).parent / "refusals.yaml").read_text(encoding="utf-8"))
    assert set(listed) == set(REFUSALS)
    for phrase in (phrase for phrases in listed.values() for phrase in phrases):
        assert is_refusal(f"«{phrase.upper()}»!")
        assert not is_refusal(PARAGRAPHS["Russian"] + phrase)


def test_another_language_is_not_covered():
    assert not is_refusal("Nie wiem.")
