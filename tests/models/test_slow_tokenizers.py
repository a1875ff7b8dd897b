"""The identity of tokenizers that are written in Python: it covers their vocabulary files and arguments."""

import json

from transformers import ByT5Tokenizer, CTRLTokenizer, PreTrainedTokenizerFast

from expunge.models.identity import tokenizer_sha256

VOCABULARY = {"adapt": 0, "re@@": 1, "a@@": 2, "apt": 3, "c@@": 4, "t": 5, "d@@": 6, "<unk>": 7}
MERGES = "#version: 0.2\na p\nap t</w>\nr e\na d\nad apt</w>\n"


def ctrl(folder, merges=MERGES, **arguments):
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY), encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), **arguments)


def test_another_merge_is_another_tokenizer(tmp_path):
    one, other = ctrl(tmp_path), ctrl(tmp_path, MERGES.replace("ad apt</w>\n", ""))
    assert not isinstance(one, PreTrainedTokenizerFast)
    assert one.tokenize("adapt") != other.tokenize("adapt")
    assert tokenizer_sha256(one) != tokenizer_sha256(other)


def test_the_same_files_elsewhere_are_the_same_tokenizer(tmp_path):
    (tmp_path / "copy").mkdir()
    assert tokenizer_sha256(ctrl(tmp_path)) == tokenizer_sha256(ctrl(tmp_path / "copy"))


def test_a_tokenizer_without_files_differs_by_its_arguments():
    assert tokenizer_sha256(ByT5Tokenizer()) == tokenizer_sha256(ByT5Tokenizer())
    assert tokenizer_sha256(ByT5Tokenizer()) != tokenizer_sha256(ByT5Tokenizer(extra_ids=10))
