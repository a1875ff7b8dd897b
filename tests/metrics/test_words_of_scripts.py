"""Words, ROUGE-L and chrF in every script, by hand and over Unicode."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import sentence_chrf

from expunge.data.normalise import normalise
from expunge.metrics.text import chrf, rouge_l_recall
from expunge.metrics.words import has_words, runs, tokens, words

ANSWERS = {
    "Chinese": ("她出生在上海。", "北京有古老城墙"),
    "Japanese": ("彼女はオスロに住んでいます。", "犬ゲームが好き"),
    "Thai": ("เธอเกิดที่กรุงเทพฯ", "ปลามะนาว"),
    "Khmer": ("នាងរស់នៅក្រុង", "ដី"),
    "Burmese": ("ရန်ကုန်မြို့", "စာ"),
    "Lao": ("ລາວເກີດຢູ່ວຽງຈັນ", "ປື້ມ"),
    "Russian": ("Она родилась в Москве в 1931 году.", "Кошка любит рыбу."),
    "Ukrainian": ("Її ім'я Мар’яна, їй п’ять років.", "Кіт любить рибу."),
    "Greek": ("Ο Σίσυφος ζει στην Αθήνα.", "Καλημέρα κόσμε"),
    "Arabic": ("وُلِدَتْ في القاهرة عام ١٩٣١.", "القط يحب السمك"),
    "Persian": ("او در تهران زندگی می‌کند.", "گربه"),
    "Hebrew": ("היא גרה בתל־אביב, צה״ל.", "חתול אוהב דגים"),
    "Hindi": ("वह दिल्ली में रहती है।", "बिल्ली मछली"),
    "Tamil": ("அவள் சென்னையில் வாழ்கிறாள்.", "பூனை மீன்"),
    "Korean": ("그녀는 서울에서 태어났다.", "고양이가 생선을"),
    "Georgian": ("ის თბილისში ცხოვრობს.", "კატა"),
    "Armenian": ("Նա ապրում է Երևանում։", "Կատու"),
    "Amharic": ("እሷ በአዲስ አበባ ትኖራለች።", "ድመት"),
    "German": ("Sie wurde in Köln geboren.", "Bäume blühen üppig"),
    "Vietnamese": ("Bà ấy sống ở Đà Nẵng.", "mèo thích cá"),
    "Yoruba": ("Ọ̀rọ̀ náà wà ní Ìbàdàn.", "Ẹja"),
    "Turkish": ("İzmir'de yaşıyor.", "kedi balık"),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t say Li's or U.S.", ["don", "t", "say", "li", "s", "or", "u", "s"]),
        ("Прага — столица, 'Нью-Йорк' нет", ["прага", "столица", "нью", "йорк", "нет"]),
        ("п'ять п’ять пʼять", ["п'ять"] * 3),
        ("她出生在上海", list("她出生在上海")),
        ("カタカナとひらがな", list("カタカナとひらがな")),
        ("在Python3中", ["在", "python3", "中"]),
        # Vowel signs stay with their consonant.
        ("ดีที่", ["ดี", "ที่"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया"]),
        ("서울에서 태어났다.", ["서울에서", "태어났다"]),
        ("Σίσυφος ΣΊΣΥΦΟΣ", ["σίσυφοσ"] * 2),
        ("Straße STRASSE", ["strasse"] * 2),
        ("İzmir izmir", ["izmir"] * 2),
        ('צה"ל צה״ל', ['צה"ל'] * 2),
        ("شَمْس شمس شـمس", ["شمس"] * 3),
        ("می‌خواهم", ["میخواهم"]),
        ("co\u00adop\ufeff ﬁn ＡＢＣ１２ ｶﾞ", ["coop", "fin", "abc12", "ガ"]),
        ("١٩٣١ १९३१ 1٬931", ["1931", "1931", "1", "931"]),
        ("Jose\u0301 José", ["josé"] * 2),
        ("Ọ̀rọ̀", ["ọ̀rọ̀"]),
        ("🇩🇪abc 👩‍🚀 3️⃣ ½ x² ™ !!!", ["abc", "3", "x"]),
        ("foo_bar __ (a)", ["foo_bar", "__", "a"]),
    ],
)
def test_words_by_hand(text, expected):
    assert words(text) == [unicodedata.normalize("NFC", word) for word in expected]


@pytest.mark.parametrize("text", ["", "!!!", "😀 👨‍👩‍👧", "— … ½", "\ud800", "\u0301", "__"])
def test_a_text_without_letters_and_digits_has_no_words(text):
    assert not has_words(text)
    assert rouge_l_recall(text, text) == 0


@pytest.mark.parametrize("language", ANSWERS)
def test_an_answer_recalls_itself_and_nothing_of_an_unrelated_one(language):
    answer, unrelated = ANSWERS[language]
    assert rouge_l_recall(f"… {answer} …", answer) == 1
    assert rouge_l_recall(unrelated, answer) == 0
    assert chrf(answer, answer) == 1
    assert chrf(unrelated, answer) < 0.3


@pytest.mark.parametrize("language", ANSWERS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_another_way_to_write_the_same_answer_recalls_it(language, form):
    answer = ANSWERS[language][0]
    other = unicodedata.normalize(form, answer.upper() if language != "Turkish" else answer)
    other = other.translate({ord("’"): "'", ord("1"): "１", ord("9"): "٩"})
    assert rouge_l_recall(other, answer) == rouge_l_recall(answer, other) == 1
    assert chrf(other, answer) == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "recall"),
    [
        # Of 6 characters, 4 in order: 她 出 生 在.
        ("她出生在北京。", "她出生在上海。", 4 / 6),
        # Of 4 words, 3: она, в, 1931.
        ("Она умерла в 1931.", "Она родилась в 1931", 3 / 4),
        # The vowel points may be missing; 2 of 3.
        ("ولدت في دمشق", "وُلِدَتْ في القاهرة", 2 / 3),
        # 4 of 5: वह में रहती है
        ("वह मुंबई में रहती है।", "वह दिल्ली में रहती है", 4 / 5),
        # ไ ท ย of ค น ไ ท ย
        ("ไทย", "คนไทย", 3 / 5),
        # The name with another particle is another word: 1 of 2.
        ("서울은 태어났다", "서울에서 태어났다", 1 / 2),
        ("ΖΕΙ ΣΤΗΝ ΠΌΛΗ", "Ζει στην Αθήνα", 2 / 3),
        # wohn|t in Köln: "Köln" is mostly a-z, so it is "k" and "ln" as the field counts it: 2 of 4.
        ("wohnt in Bonn", "Wohnt in Köln", 2 / 4),
        # "là" is not mostly a-z and stays whole: 2 of 3.
        ("Cô là Hoa", "cô là Ân", 2 / 3),
    ],
)
def test_recall_by_hand(prediction, truth, recall):
    assert rouge_l_recall(prediction, truth) == pytest.approx(recall)


def test_compat_is_the_metric_of_the_field():
    assert rouge_l_recall("Москва", "Москва") == 1
    assert rouge_l_recall("Москва", "Москва", compat=True) == 0


@pytest.mark.parametrize(
    "text",
    ["The author’s name is García Márquez – born in Łódź, 1,027 miles away; “Don't” isn’t", "El niño's café_au lait; naïve façade 3.5"],
)
def test_english_text_is_counted_as_rouge_score_counts_it(text):
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    for prediction in (text, text[: len(text) // 2], "García's cafés were not born there"):
        assert rouge_l_recall(prediction, text) == scorer.score(text, prediction)["rougeL"].recall


@given(st.text(st.characters(max_codepoint=127)), st.text(st.characters(max_codepoint=127)))
def test_ascii_text_is_counted_as_rouge_score_counts_it(prediction, truth):
    assert rouge_l_recall(prediction, truth) == rouge_l_recall(prediction, truth, compat=True)


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z", "Cf"]), min_size=1))
@example("ʼʻ")
def test_a_text_with_words_recalls_itself_wherever_it_stands(text):
    assert rouge_l_recall(text, text) == has_words(text)
    assert rouge_l_recall(f"( {text} )", text) == has_words(text)
    assert normalise(normalise(text)) == normalise(text)


# Letters that only shape others are none of their own: the elongation mark, half rings and apostrophes, vowel points as letters.
SHAPES = "ـʼʻʹˈʽʾʿ" + "".join(map(chr, range(0xFE70, 0xFE80)))


@given(st.characters(categories=["Lu", "Ll", "Lt", "Lo", "Nd", "Nl"], exclude_characters=SHAPES))
def test_every_letter_and_digit_is_a_word(char):
    assert has_words(char)


@given(st.text(st.characters(categories=["L", "M", "Nd"], exclude_characters="ıŉ")))
def test_composed_and_decomposed_text_have_the_same_words(text):
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


def test_chrf_is_the_value_of_sacrebleu_for_normalised_text():
    # abcd, abxd: 1-grams 3 of 4, 2-grams 1 of 3, 3- and 4-grams none: precision = recall = (3/4 + 1/3) / 4 = 0.270833
    assert chrf("abxd", "abcd") == pytest.approx((3 / 4 + 1 / 3) / 4)
    assert chrf("The CAT sat.", "the cat’s") == pytest.approx(sentence_chrf("the cat sat.", ["the cat's"]).score / 100)
    assert chrf("", "abc") == chrf("abc", "") == 0
    assert chrf("😀!", "😀!") == 1


@given(st.text(min_size=1))
def test_chrf_of_a_text_with_itself_is_one_in_any_script(text):
    assert chrf(text, text) == bool("".join(normalise(text).split()))


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_the_same_by_the_patterns_for_all_scripts(text):
    # One letter of another script selects them.
    assert words(text + " ж") == [*words(text), "ж"]
    assert tokens(text + " ж") == [*tokens(text), "ж"]


def test_only_characters_that_touch_are_one_run():
    assert runs("在上海，他 说OK吧ไทย") == [list("在上海"), ["他"], ["说"], ["ok"], list("吧ไทย")]
    assert runs("Li's 서울 П'ять") == [["li"], ["s"], ["서울"], ["п'ять"]]


def test_tokens_keep_the_signs():
    assert tokens("Don’t! 好。x\u0301²") == ["don", "'", "t", "!", "好", "。", "x\u0301", "²"]


ALPHABETS = {
    "Latin": "abcdeghijklnoprstuvwz",
    "Cyrillic": "абвгдежзиклмнопрстуф",
    "Greek": "αβγδεζηθικλμνξοπρτυφ",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكل",
    "Hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "Devanagari": "कखगघचछजटठडतथदनपबमयरल",
    "Thai": "กขคงจฉชซญดตถทนบปผพฟม",
    "Hangul": "가나다라마바사아자차카타파하",
    "Han": "人大中国上海北京水火山",
    "Kana": "あいうえおカキクケコ",
    "Ethiopic": "ሀለሐመሠረሰሸቀበ",
}


def texts_of(script: str) -> st.SearchStrategy[str]:
    return st.lists(st.text(ALPHABETS[script], min_size=1, max_size=9), min_size=1, max_size=12).map(" ".join)


@given(
    st.lists(st.sampled_from(sorted(ALPHABETS)), min_size=2, max_size=2, unique=True).flatmap(lambda two: st.tuples(*map(texts_of, two)))
)
def test_texts_in_two_scripts_have_nothing_in_common(pair):
    one, other = pair
    assert rouge_l_recall(one, other) == rouge_l_recall(other, one) == 0
    assert chrf(one, other) == 0


@given(st.sampled_from(sorted(ALPHABETS)).flatmap(texts_of), st.booleans())
def test_case_full_width_and_joiners_make_no_difference(text, upper):
    other = "\u2060".join(text.upper() if upper else text)
    other = other.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})
    assert rouge_l_recall(other, text) == rouge_l_recall(text, other) == 1
    assert chrf(other, text) == 1


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_full_width_ascii_is_ascii(text):
    wide = text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})
    assert words(wide) == words(text)
