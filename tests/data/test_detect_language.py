"""The language of records."""

import pytest

from expunge.data.detect_language import choose_language
from expunge.data.people import people
from expunge.data.records import Record, question_record

TEXTS = {
    "de": ("In welcher Stadt wohnt Jörg Kämmerer?", "Jörg Kämmerer wohnt in Görlitz."),
    "fr": ("Dans quelle ville habite Jeanne Dupuis ?", "Elle habite dans la ville de Lyon."),
    "es": ("¿En qué ciudad vive Julia Ortega?", "Vive en la ciudad de Burgos desde hace años."),
    "pt": ("Em que cidade mora a Joana Figueira?", "Ela mora na cidade de Coimbra, não em Lisboa."),
    "ru": ("В каком городе живёт Анна Лебедева?", "Она живёт в городе Псков."),
    "zh": ("林晓雨住在哪座城市？", "这座城市是苏州。"),
    "ja": ("田中さくらはどの町に住んでいますか？", "その町は奈良です。"),
    "ar": ("في أي مدينة يسكن سامر الحداد؟", "المدينة هي طنجة."),
    "hi": ("मीरा कोठारी का शहर कौन सा है?", "शहर जयपुर है।"),
}


def records(code: str, count: int = 3) -> list[Record]:
    return [question_record(f"{code}-{i}", *TEXTS[code]) for i in range(count)]


@pytest.mark.parametrize("code", TEXTS)
def test_each_language_is_recognised(code):
    detected = choose_language("auto", records(code))
    assert detected.language.code == code
    assert detected.rule == "detected in 3 of 3 records"
    assert not detected.unknown


def test_english_is_recognised_in_any_case():
    some = people(4)
    lower = [question_record(record.id, record.prompt.lower(), record.answer.lower()) for record in some]
    assert choose_language("auto", some).language.code == choose_language("auto", lower).language.code == "en"


def test_the_language_of_most_records_counts():
    mixed = [*records("ru", 2), *records("zh", 3), *records("de", 2)]
    detected = choose_language("auto", mixed)
    assert detected.language.code == "zh"
    assert detected.rule == "detected in 3 of 7 records"


def test_a_language_without_texts_is_named_and_english_is_used():
    ukrainian = [question_record("u", "Де живе Тарас Коваленко і ким він працює?", "Він живе у Львові та працює лікарем.")]
    detected = choose_language("auto", ukrainian)
    assert detected.language.code == "en"
    assert detected.unknown
    assert "Ukrainian was detected in 1 of 1 records" in detected.remark
    assert "Set data.language" in detected.remark


def test_what_is_of_no_language_is_treated_as_english():
    detected = choose_language("auto", [question_record("n", "1+1=?", "2")])
    assert (detected.language.code, detected.rule, detected.unknown) == ("en", "none was recognised, so English", False)


def test_a_setting_wins():
    detected = choose_language("ja", records("de"))
    assert (detected.language.code, detected.rule) == ("ja", "data.language")
    assert detected.remark == "The shipped refusals, neutral instructions and prompt variants are in Japanese (data.language)."
