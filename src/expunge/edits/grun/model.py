"""The PEFT tuners of ReFT and GRUN: wrap the blocks, load adapters, refuse to merge."""

from typing import Any, NoReturn, cast

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig

from expunge.edits.grun.config import ReftConfig
from expunge.edits.grun.layer import GrunLayer
from expunge.edits.grun.state import PromptState
from expunge.errors import ExpungeError, InputError
from expunge.models.blocks import decoder_blocks


class ReftModel(BaseTuner):
    """A causal language model with edited blocks; `get_peft_model(model, ReftConfig(...))` creates it.

    The adapters of one model add up: `peft_model.base_model.set_adapter(["a", "b"])`.
    """

    # PEFT requires a different parameter prefix for each method; every ReFT block has this parameter.
    prefix = "grun_rotate"
    tuner_layer_cls = GrunLayer
    state: PromptState
    _hooks: list[RemovableHandle]

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        # Shared by all adapters: the gate of one may be in a block that another one wrapped first.
        if "state" not in vars(self):
            self.state = PromptState()

    def _post_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        if "_hooks" in vars(self):
            return
        path = decoder_blocks(model)[0]
        # In a model that reads images too, a module around the decoder turns the attention mask into one for each kind of block.
        outermost, decoder = (model.get_submodule(name) for name in (path.partition(".")[0], path.rpartition(".")[0]))
        self._hooks = [
            outermost.register_forward_pre_hook(self.state.observe, with_kwargs=True),
            decoder.register_forward_pre_hook(_run_all_tokens, with_kwargs=True),
        ]

    # pyrefly: ignore [bad-override]
    def _prepare_adapter_config(self, peft_config: ReftConfig, model_config: dict) -> ReftConfig:
        return peft_config

    # pyrefly: ignore [bad-override]
    def _prepare_model(self, peft_config: ReftConfig, model: nn.Module) -> None:
        name, blocks = decoder_blocks(model)
        peft_config.resolve(len(blocks), cast(PreTrainedConfig, model.config).get_text_config().hidden_size)
        peft_config.target_modules = [f"{name}.{block}" for block in peft_config.wrapped_blocks]

    # pyrefly: ignore [bad-override]
    def _create_and_replace(
        self, peft_config: ReftConfig, adapter_name: str, target: nn.Module, target_name: str, parent: nn.Module, current_key: str
    ) -> None:
        if isinstance(target, GrunLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = GrunLayer(target, int(target_name), self.model.config.get_text_config().hidden_size, self.state)
        layer.update_layer(adapter_name, peft_config)
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        # PEFT's implementation copies the old module's `weight`, which a decoder block does not have.
        setattr(parent, child_name, new_module)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: PeftConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Rename the checkpoint's keys for the adapter; missing weights, which PEFT would leave random with a warning, are an error."""
        renamed = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        required = adapter_keys(model, adapter_name)
        if wrong := [f"lacks {key}" for key in sorted(required - set(renamed))] or [
            f"has the unknown {key}" for key in sorted(set(renamed) - required)
        ]:
            raise InputError(f'adapter "{adapter_name}": the file does not match its configuration: it {", ".join(wrong)}')
        return renamed

    def _check_merge_allowed(self) -> NoReturn:
        raise ExpungeError(
            "this edit depends on the input and cannot be merged into the weights; use `expunge export` for a checkpoint to serve"
        )

    def unload(self) -> nn.Module:
        """Return the base model without the edits."""
        for hook in self._hooks:
            hook.remove()
        return super().unload()

    def generate(self, *args: Any, **kwargs: Any) -> Tensor:
        """Generate as the base model does.

        Raises:
            ExpungeError: without a KV cache, because every token would then start a new prompt; by beam search, if a gate reads the
                answer, because a beam may continue an answer that another one began.
        """
        settings = kwargs.get("generation_config") or self.model.generation_config
        if kwargs.get("use_cache", settings.use_cache) is False:
            raise ExpungeError("an edited model can only generate with a KV cache; set use_cache to True")
        reads_answer = any(getattr(self.peft_config[adapter], "answer_gate", False) for adapter in self.active_adapters)
        if reads_answer and (kwargs.get("num_beams", settings.num_beams) or 1) > 1:
            raise ExpungeError("a model whose gate reads the answer cannot generate by beam search; set num_beams to 1")
        return self.model.generate(*args, **kwargs)


def _run_all_tokens(_decoder: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Make every block run over all tokens, as gates read them: Gemma 4 runs its upper blocks over those whose logits are needed."""
    return args, {**kwargs, "logits_to_keep": 0} if "logits_to_keep" in kwargs else kwargs


class GrunModel(ReftModel):
    """A causal language model with gated edits; `get_peft_model(model, GrunConfig(...))` creates it."""

    prefix = "grun_"


def adapter_keys(model: nn.Module, adapter: str) -> set[str]:
    """Return the names in `model.state_dict()` of one adapter's parameters."""
    keys = set()
    for name, layer in model.named_modules():
        if isinstance(layer, GrunLayer):
            parts = tuple(f"{part}.{adapter}" for part in layer.adapter_layer_names)
            adapter_parameters = [key for key, _ in layer.named_parameters() if key in parts or key.rpartition(".")[0] in parts]
            keys.update(f"{name}.{key}" for key in adapter_parameters)
    return keys
