"""The logit lens: the last block has the scores of the model, other blocks those of a model cut off there."""

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, Gemma2Config, Gemma2ForCausalLM

from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import Record, Turn
from expunge.edits.apply import apply_edit
from expunge.errors import ExpungeError
from expunge.metrics import lens
from expunge.metrics.lens import lens_rows
from expunge.models.blocks import decoder_blocks, final_norm
from expunge.models.loading import load
from expunge.models.scoring import score

RECORDS = [
    Record("a", (Turn("user", "Where does Ana live?"),), "Ana lives in a city on the sea."),
    Record("b", (Turn("user", "Who wrote the first book about birds?"),), "Nobody knows."),
]


@pytest.fixture
def tiny(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    return model, PromptBuilder(tokenizer)


def own_loss(model, builder, record) -> float:
    with torch.no_grad():
        scores = score(model, collate([builder.record(record)], builder.pad))
    return (scores.nll / scores.tokens).item()


@pytest.mark.parametrize("tiny_model_dir", ["llama", "gpt2", "gemma3", "gpt_neox"], indirect=True)
def test_the_last_block_has_the_scores_of_the_model(tiny):
    model, builder = tiny
    done = []
    rows = lens_rows(model, builder, RECORDS, advance=done.append)
    assert [row["id"] for row in rows] == ["a", "b"]
    assert sum(done) == 2
    assert [row["nll"][-1] for row in rows] == pytest.approx([own_loss(model, builder, record) for record in RECORDS], rel=1e-4)


@pytest.mark.parametrize("tiny_model_dir", ["llama", "gpt2"], indirect=True)
def test_a_block_has_the_scores_of_a_model_that_ends_there(tiny):
    model, builder = tiny
    (row,) = lens_rows(model, builder, RECORDS[:1])
    _, blocks = decoder_blocks(model)
    assert len(row["nll"]) == len(blocks) == 4
    # Without its upper half the model goes from block 1 to norm and head.
    del blocks[2:]
    assert row["nll"][1] == pytest.approx(own_loss(model, builder, RECORDS[0]), rel=1e-4)


def test_a_zero_head_is_uniform_at_every_block(tiny):
    model, builder = tiny
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    # log 320 = 5.7683 nats a token
    for row in lens_rows(model, builder, RECORDS):
        assert row["nll"] == pytest.approx([5.76832] * 4, abs=1e-4)


def test_an_edit_changes_the_lens_from_its_block_on(tiny):
    model, builder = tiny
    before = lens_rows(model, builder, RECORDS)
    model = apply_edit(model, EditSection(name="reft", blocks=[2], positions="every_token"), "").eval()
    for parameter in (p for p in model.parameters() if p.requires_grad):
        torch.nn.init.normal_(parameter.data)
    after = lens_rows(model, builder, RECORDS)
    for one, other in zip(before, after, strict=True):
        changed = [abs(a - b) > 1e-3 for a, b in zip(one["nll"], other["nll"], strict=True)]
        assert changed == [False, False, True, True]


def test_a_model_that_caps_its_logits_is_refused(tiny):
    sizes = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    capped = Gemma2ForCausalLM(Gemma2Config(**sizes, num_key_value_heads=2, head_dim=8, final_logit_softcapping=5.0)).eval()
    with pytest.raises(ExpungeError, match="not its output head's"):
        lens_rows(capped, tiny[1], RECORDS)


def test_a_norm_that_does_not_lead_to_the_logits_is_an_error(tiny, monkeypatch):
    model, builder = tiny
    monkeypatch.setattr(lens, "final_norm", lambda model: torch.nn.Identity())
    with pytest.raises(ExpungeError, match="do not give its logits"):
        lens_rows(model, builder, RECORDS)


def test_the_norm_after_the_blocks_is_found_beside_another():
    bloom = BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=2, n_head=2))
    assert final_norm(bloom) is bloom.transformer.ln_f
