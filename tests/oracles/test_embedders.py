"""Text embeddings: by the hidden states of a model, and by an encoder in a folder."""

import pytest
import torch
from transformers import BertConfig, BertModel

from expunge.data.prompts import PromptBuilder
from expunge.errors import InputError
from expunge.metrics.diversity import diversity
from expunge.models.loading import load
from expunge.oracles.embedders import Encoder, StateEmbedder, as_plain_embedder, make_embedder

TEXTS = ["Paris is the capital of France.", "a", "Where does Basil Mahfouz live?", "The author never told anyone the name of it."]


@pytest.fixture
def embedder(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    return StateEmbedder(model, PromptBuilder(tokenizer))


@pytest.mark.parametrize("tiny_model_dir", ["llama", "qwen3", "gemma3", "gpt2", "gpt_neox"], indirect=True)
def test_an_embedding_does_not_depend_on_other_texts(embedder):
    together = embedder.embed(TEXTS)
    assert together.shape == (4, 32)
    assert together.dtype == torch.float32
    for text, row in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(embedder.embed([text])[0], row, rtol=1e-4, atol=1e-4)


def test_equal_texts_have_no_diversity_and_different_texts_have_some(embedder):
    assert diversity(embedder.embed(TEXTS[:1] * 4)) == pytest.approx(0, abs=1e-6)
    assert diversity(embedder.embed(TEXTS)) > 0.2


def test_an_empty_text_has_an_embedding_too(embedder):
    rows = embedder.embed(["", *TEXTS])
    assert rows[0].norm() > 0
    assert 0 < diversity(rows) <= 1
    assert embedder.embed([]).shape == (0, 32)


def test_tokens_beyond_the_context_are_not_read(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    model.config.max_position_embeddings = 40
    embedder = StateEmbedder(model, PromptBuilder(tokenizer))
    long = "a b c d e f g " * 20
    torch.testing.assert_close(*embedder.embed([long, long + TEXTS[0]]))


@pytest.mark.real
def test_a_real_model_separates_facts_more_than_wordings(smollm2):
    model, tokenizer = smollm2
    embedder = StateEmbedder(model, PromptBuilder(tokenizer))
    same_fact = ["Basil Mahfouz lives in Kuwait City.", "He lives in Kuwait City.", "Mr Mahfouz's home is in Kuwait City."]
    facts = ["Basil Mahfouz lives in Kuwait City.", "Ana Petrova was born in Sofia in 1971.", "Li Wei writes poems about rain."]
    kinds = ["Boil the pasta for nine minutes.", "def add(a, b):\n    return a + b", '["Rome", "Paris"]']
    diversities = [diversity(embedder.embed(texts)) for texts in (same_fact, facts, kinds)]
    assert diversities[0] < 0.5 < diversities[1] < diversities[2]


@pytest.fixture
def encoder_folder(tmp_path, make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertModel(BertConfig(**sizes, initializer_range=0.5, pad_token_id=tokenizer.pad_token_id)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder")


def test_an_encoder_embeds_each_text_independently(encoder_folder):
    embedder = make_embedder(encoder_folder)
    together = embedder.embed(TEXTS)
    assert together.shape == (4, 16)
    for text, row in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(embedder.embed([text])[0], row, rtol=1e-4, atol=1e-4)
    assert as_plain_embedder(embedder) == encoder_folder


class Identity:
    def embed(self, texts):
        return torch.eye(len(texts))


def test_any_object_with_the_method_is_an_embedder():
    embedder = Identity()
    assert make_embedder(embedder) is embedder
    assert as_plain_embedder(embedder) == f"{__name__}.Identity"
    with pytest.raises(ValueError, match="give the folder of an encoder"):
        make_embedder(3)


def test_a_folder_without_an_encoder_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"reveal\.embedder: .*nowhere is not a folder"):
        Encoder(str(tmp_path / "nowhere")).embed(["a"])
    with pytest.raises(InputError, match=r"no config\.json there"):
        Encoder(str(tmp_path)).embed(["a"])
