"""A run's chat template and its arguments: copied, recorded, compared; what is wrong with them is said at the door."""

import json

import pytest
from transformers import AutoTokenizer
from transformers.models.auto import tokenization_auto

from expunge.attestation.check_files import _part_checks
from expunge.attestation.schema import Base
from expunge.config import DataSection
from expunge.console import Display, SafeConsole
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.errors import InputError
from expunge.models.loading import load, parts_without_weights
from expunge.pipeline.template_checks import check_template_args, suggests_instruct, template_remarks
from expunge.pipeline.unlearn import unlearn
from expunge.runs.folder import TEMPLATE, Run
from expunge.runs.loaded import load_base, open_run
from expunge.runs.splits import check_fits

TEXT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}: {{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant:{% if loud %}!{% endif %}{% endif %}"
)
WHO = (Turn("user", "Who?"),)


@pytest.fixture
def trained(make_tiny_model, tiny_data, tmp_path, make_recipe_for):
    """A run of a base model with a template and an argument from the recipe."""
    (tmp_path / "mine.jinja").write_text(TEXT, encoding="utf-8")
    data = {
        "forget": str(tiny_data[0]),
        "retain": str(tiny_data[1]),
        "template": str(tmp_path / "mine.jinja"),
        "template_args": {"loud": True},
    }
    training = {"epochs": 1, "batch_size": 3, "lr": 1e-3, "save_steps": 0}
    return unlearn(make_recipe_for("run", model=str(make_tiny_model("llama", False)), data=data, training=training), Display())


def test_a_run_keeps_its_template_and_refuses_another_one(trained, make_tiny_model, tmp_path):
    assert (trained.folder / TEMPLATE).read_text(encoding="utf-8") == TEXT
    (tmp_path / "mine.jinja").unlink()
    loaded = load_base(open_run(trained.folder))
    assert loaded.builder.tokenizer.decode(loaded.builder.prompt(WHO)) == "<|im_start|>user: Who?<|im_end|><|im_start|>assistant:!"
    own, ours = (parts_without_weights(make_tiny_model("llama", False), text)["chat_template"] for text in (None, TEXT))
    assert own != ours == loaded.identity.chat_template
    base = Base.model_construct(name="base", parts=loaded.identity.parts)
    checks = list(_part_checks("base", base, make_tiny_model("llama", False), Run(trained.folder)))
    assert {check.status for check in checks} == {"ok"}
    (trained.folder / TEMPLATE).write_text(TEXT + " ", encoding="utf-8")
    with pytest.raises(InputError, match="differs in its chat template"):
        load_base(open_run(trained.folder))


def test_other_arguments_are_refused(trained):
    recipe = trained.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("loud: true", "loud: false"), encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.template_args has changed since the run was trained"):
        load_base(open_run(trained.folder))
    assert json.loads((trained.folder / "run.json").read_text(encoding="utf-8"))["model"]["template_args"]


def test_a_variable_that_the_template_does_not_have_is_refused(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEXT
    check_template_args(DataSection(forget="f", template_args={"loud": True}), PromptBuilder(tokenizer))
    for given, builder, message in (
        ({"lout": True}, PromptBuilder(tokenizer), "data.template_args.lout: the chat template has no such variable"),
        ({"loud": True}, PromptBuilder(make_tokenizer(chat=False)), "data.template_args: the model has no chat template"),
    ):
        with pytest.raises(InputError, match=message):
            check_template_args(DataSection(forget="f", template_args=given), builder)
    with pytest.raises(ValueError, match="tokenize is not a variable"):
        DataSection(forget="f", template_args={"tokenize": False})


def test_a_record_that_the_template_refuses_is_named_with_its_line(make_tiny_model):
    model, tokenizer = load(make_tiny_model())
    tokenizer.chat_template = "{% if messages | length > 1 %}{{ raise_exception('roles must alternate') }}{% endif %}" + TEXT
    record = Record("two", (*WHO, *WHO), "Ada.", line=7)
    with pytest.raises(InputError, match=r'f.jsonl:7: record "two" cannot be written .* roles must alternate; change'):
        check_fits(model, PromptBuilder(tokenizer), "f.jsonl", [record])


def test_remarks_name_an_instruct_model_without_a_template_and_a_system_message_without_a_turn(make_tiny_model, make_tokenizer):
    model, plain = load(make_tiny_model("llama", False))
    builder = PromptBuilder(plain)
    assert not list(template_remarks("some/llama-base", model, builder, []))
    (remark,) = template_remarks("some/Llama-3B-Instruct", model, builder, [])
    assert "data.template" in remark
    assert [name for name in ("gemma-2-2b-it", "a/b-chat", "opt-iml", "pythia-70m", "runs/it/base") if suggests_instruct(name, model)] == [
        "gemma-2-2b-it",
        "a/b-chat",
    ]
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEXT
    (remark,) = template_remarks("x", model, PromptBuilder(tokenizer, "Be kind."), [])
    assert "before the first question" in remark


def test_mistral_common_beside_us_does_not_change_how_tokenizers_load(make_tiny_model, monkeypatch):
    folder = make_tiny_model()
    monkeypatch.setitem(tokenization_auto.TOKENIZER_MAPPING_NAMES, "llama", "MistralCommonBackend")
    monkeypatch.setattr("transformers.integrations.mistral.tokenizer.resolve_mistral_format", lambda *_, **__: (True, None))
    _, tokenizer = load(folder)
    assert tokenizer.chat_template is not None
    assert PromptBuilder(tokenizer).prompt(WHO)
    # The change bites: without our argument transformers goes through the package, which is not there.
    with pytest.raises(Exception, match="mistral"):
        AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_the_console_says_it_once(make_recipe_for, make_tiny_model, tiny_data, tmp_path, capsys):
    named = tmp_path / "tiny-instruct"
    named.symlink_to(make_tiny_model("llama", False))
    training = {"epochs": 1, "batch_size": 3, "lr": 1e-3, "save_steps": 0}
    unlearn(make_recipe_for("run", model=str(named), training=training), Display(SafeConsole(stderr=True)))
    assert capsys.readouterr().err.count("looks like an instruct model") == 1
