"""The oracles classifier and detoxify on tiny random classifiers in local folders."""

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from expunge.errors import InputError
from expunge.oracles import Classifier, Detoxify


@pytest.fixture(scope="session")
def make_classifier(tmp_path_factory, make_tokenizer):
    """Return the folder of a tiny random classifier: `make(labels, **config)`."""

    def make(labels: list[str], **config) -> Path:
        folder = tmp_path_factory.mktemp("classifier")
        tokenizer = make_tokenizer()
        tokenizer.pad_token = tokenizer.eos_token
        sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
        torch.manual_seed(0)
        settings = {**sizes, **names, "max_position_embeddings": 40, "initializer_range": 0.5, "pad_token_id": tokenizer.pad_token_id}
        BertForSequenceClassification(BertConfig(**{**settings, **config})).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


TEXTS = ["Where does Basil live?", "Paris", "", "A city on the Seine. " * 30, *(f"number {i}" for i in range(40))]


def test_labels_that_exclude_each_other_sum_to_1(make_classifier):
    folder = str(make_classifier(["good", "bad", "ugly"]))
    by_name = torch.tensor([Classifier(folder, label).relevance(TEXTS) for label in ("good", "bad", "ugly")])
    assert torch.allclose(by_name.sum(0), torch.ones(len(TEXTS)))
    assert by_name.std(1).min() > 0.01
    assert Classifier(folder, 1).relevance(TEXTS) == Classifier(folder, "bad").relevance(TEXTS)


def test_a_score_does_not_depend_on_the_batch(make_classifier):
    oracle = Classifier(str(make_classifier(["good", "bad"])), "bad")
    assert oracle.relevance(TEXTS) == pytest.approx([oracle.relevance([text])[0] for text in TEXTS], abs=1e-5)


def test_independent_labels_use_the_sigmoid(make_classifier):
    folder = str(make_classifier(["toxicity", "insult"], problem_type="multi_label_classification"))
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    oracle = Classifier(folder, "toxicity")
    batch = AutoTokenizer.from_pretrained(folder)(["Paris"], return_tensors="pt")
    with torch.no_grad():
        expected = model(**batch).logits[0, 0].sigmoid().item()
    assert oracle.relevance(["Paris"])[0] == pytest.approx(expected, abs=1e-6)
    assert Detoxify(folder).relevance(["Paris"])[0] == pytest.approx(expected, abs=1e-6)


def test_detoxify_accepts_both_label_names_and_never_uses_the_softmax(make_classifier):
    folder = str(make_classifier(["severe_toxic", "toxic"]))
    single = Classifier(folder, "toxic").relevance(TEXTS)
    assert Detoxify(folder).relevance(TEXTS) != pytest.approx(single, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda folder: os.remove(folder / "config.json"), "no config.json"),
        (lambda folder: os.rename(folder / "model.safetensors", folder / "pytorch_model.bin"), "pickled weights are not loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "could not be loaded as a classifier"),
        (lambda folder: os.remove(folder / "tokenizer.json"), "could not be loaded as a classifier"),
    ],
)
def test_a_folder_without_a_classifier_is_an_error(make_classifier, change, match):
    folder = make_classifier(["good", "bad"])
    change(folder)
    with pytest.raises(InputError, match=match):
        Classifier(str(folder), "bad").relevance(["text"])


def test_the_folder_of_a_language_model_is_an_error(make_tiny_model):
    with pytest.raises(InputError, match=r"safetensors lack .*score\.weight"):
        Classifier(str(make_tiny_model()), 0).relevance(["text"])


def test_an_unknown_label_gives_an_error_with_the_known_ones(make_classifier):
    with pytest.raises(InputError, match=r"no label 'rude'; there are 0 \(good\), 1 \(bad\)"):
        Classifier(str(make_classifier(["good", "bad"])), "rude").relevance(["text"])
    with pytest.raises(InputError, match="no label 'toxicity'"):
        Detoxify(str(make_classifier(["good", "bad"]))).relevance(["text"])


def test_a_pickled_checkpoint_is_an_error(tmp_path):
    torch.save({}, tmp_path / "toxic.ckpt")
    with pytest.raises(InputError, match=r"toxic\.ckpt is not a folder"):
        Detoxify(str(tmp_path / "toxic.ckpt")).relevance(["text"])
