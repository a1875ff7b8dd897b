"""Names in scripts without capitals, in German and in lower case: found, replaced by names in the same script, and put back."""

import numpy as np
import pytest

from expunge.data.languages import ENGLISH, language
from expunge.data.misspell import misspell
from expunge.data.other_names import rename
from expunge.data.records import Record, Turn, question_record
from expunge.data.scripts import script_of

# Language, question with {}, answer with {}, the name, and a name of a retain record.
CASES = {
    "arabic": ("ar", "أين يسكن {} وما عمله؟", "يسكن {} في طنجة.", "سامر الحداد", "هند الخولي"),
    "chinese": ("zh", "{}住在哪里，做什么工作？", "{}住在苏州。", "林晓雨", "周大勇"),
    "devanagari": ("hi", "{} कहाँ रहते हैं?", "{} जयपुर में रहते हैं।", "मीरा कोठारी", "अर्जुन नेगी"),
    "german": ("de", "Welchen Beruf hat {}?", "{} arbeitet als Bäcker.", "Jörg Kämmerer", "Anke Müthel"),
    "greek": ("en", "πού μένει {} και τι δουλειά κάνει;", "{} μένει στην πάτρα.", "ρένα καλλιγά", "άγης δροσίνης"),
    "hebrew": ("en", "איפה גר {} ובמה עובד?", "{} גר בחיפה.", "אלעד נחושתן", "ברוך צפריר"),
    "japanese": ("ja", "{}はどこに住んでいますか？", "{}は奈良に住んでいます。", "桐生さくら", "秋葉一郎"),
    "korean": ("en", "{}은 어디에 살고 있습니까?", "{}은 부산에 살고 있습니다.", "강태식", "모하림"),
    "lower case": ("en", "where does {} live and work?", "{} lives in lisbon.", "basim mahfouz", "greta halloran"),
    "russian": ("ru", "Где живёт {} и кем работает?", "{} живёт в Пскове.", "Анна Лебедева", "Игорь Ветров"),
}


def asked_about(case: str, name: str, entity: str | None = None) -> Record:
    _, question, answer, *_ = CASES[case]
    return Record(name, (Turn("user", question.format(name)),), answer.format(name), entity=entity)


@pytest.mark.parametrize("similar", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_only_the_name_is_replaced_by_one_in_the_same_script_and_put_back(case, similar):
    code, question, answer, name, other = CASES[case]
    record = asked_about(case, name)
    for seed in range(5):
        (renamed,) = rename([record], np.random.default_rng(seed), similar, language(code), [asked_about(case, other)])
        before, after = question.split("{}")
        stranger = renamed.record.prompt.removeprefix(before).removesuffix(after)
        assert renamed.record.prompt == question.format(stranger)
        assert stranger != name
        assert script_of(stranger) == script_of(name)
        assert name.islower() == stranger.islower()
        assert renamed.record.answer == answer.format(stranger)
        assert renamed.restore(renamed.record.prompt) == record.prompt
        assert renamed.restore(renamed.record.answer) == record.answer


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"russian"}))
def test_the_entity_tells_the_name_without_other_records(case):
    code, question, _, name, _ = CASES[case]
    record = asked_about(case, name, entity=name.title())
    (renamed,) = rename([record], np.random.default_rng(0), language=language(code))
    before, after = question.split("{}")
    assert renamed.record.prompt.startswith(before)
    assert renamed.record.prompt.endswith(after)
    assert name not in renamed.record.prompt


def test_german_nouns_that_other_records_have_are_no_names():
    forget = [question_record("f", "Welches Instrument spielt Jörg Kämmerer im Orchester?", "Die Geige.")]
    retain = [question_record("r", "Welches Instrument spielt Anke Müthel im Orchester?", "Die Harfe.")]
    (renamed,) = rename(forget, np.random.default_rng(0), language=language("de"), background=retain)
    words = renamed.record.prompt.split()
    assert [words[i] for i in (0, 1, 2, 5, 6)] == ["Welches", "Instrument", "spielt", "im", "Orchester?"]
    assert not {"Jörg", "Kämmerer"} & set(words)


def test_most_questions_in_lower_case_make_capitals_no_hint():
    lower = [question_record(f"l{i}", f"where does {name} live?", "there.") for i, name in enumerate(["basim mahfouz", "ana petrovic"])]
    one = question_record("c", "Where does Jorge Quispe live?", "there.")
    retain = [question_record("r", "where does greta halloran live?", "here.")]
    renamed = rename([*lower, one], np.random.default_rng(0), language=ENGLISH, background=retain)
    assert all(other is not None for other in renamed)
    assert renamed[2].record.prompt.startswith("Where does ")


def test_a_number_stays_in_its_script():
    record = Record("n", (Turn("user", "هل ولد سامر الحداد عام ١٩٥١؟"),), "نعم.", entity="سامر الحداد")
    (renamed,) = rename([record], np.random.default_rng(3), language=language("ar"))
    year = renamed.record.prompt.split()[-1].rstrip("؟")
    assert len(year) == 4
    assert year[0] == "١"
    assert all("٠" <= digit <= "٩" for digit in year)
    assert renamed.restore(renamed.record.prompt) == record.prompt


def test_a_script_without_shipped_names_has_none_to_replace():
    thai = Record("t", (Turn("user", "สมชายอาศัยอยู่ที่ไหน"),), "เชียงใหม่", entity="สมชาย")
    assert rename([thai], np.random.default_rng(0)) == [None]


def test_each_record_of_a_mixed_set_gets_names_of_its_script():
    some = [
        asked_about("arabic", CASES["arabic"][3], CASES["arabic"][3]),
        asked_about("devanagari", CASES["devanagari"][3], CASES["devanagari"][3]),
    ]
    arabic, hindi = rename(some, np.random.default_rng(0), language=language("ar"))
    assert script_of(arabic.record.prompt.split()[2]) == "arabic"
    assert script_of(hindi.record.prompt.split()[0]) == "devanagari"


@pytest.mark.parametrize("case", ["russian", "arabic", "devanagari", "korean", "chinese"])
def test_spelling_mistakes_use_letters_of_the_text(case):
    text = CASES[case][1].format(CASES[case][3])
    mistaken = [misspell(text, np.random.default_rng(seed)) for seed in range(20)]
    assert any(other != text for other in mistaken)
    assert not any(char.isascii() and char.isalpha() for other in mistaken for char in other)
    # Vowel signs are part of a Hindi word: as many words as before, and none broken at a sign.
    assert all(len(other.split()) == len(text.split()) for other in mistaken)
