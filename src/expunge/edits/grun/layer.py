"""A decoder block with its edits: h' = h + sum_i g_i(h) R_i^T (W_i h + b_i - R_i h) (Ren et al., 2025, arXiv 2502.17823)."""

from typing import cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn.functional import linear

from expunge.edits.grun.config import GrunConfig, ReftConfig
from expunge.edits.grun.gate import ANSWER_GATE, answer_scores, gate_input, new_gate, pooled_logits, token_scores
from expunge.edits.grun.read_on import pooled_memory, read_on
from expunge.edits.grun.state import Prompts, PromptState, Window
from expunge.models.forward_context import known_gate_logits, memory_key, publish_gate_logits
from expunge.models.sharding import gather_shards, shard_like

GATE_PARTS = ("grun_gate_in", "grun_gate_mid", "grun_gate", "grun_gate_query", ANSWER_GATE)


class GrunLayer(nn.Module, BaseTunerLayer):
    """Wrap a decoder block; the changes of its adapters add up, and all of them read the block's unedited output.

    The parameters and the arithmetic of an edit are fp32 whatever the dtype of the model. A block that is wrapped for an adapter
    holds its edit (`grun_rotate`: R, rank x hidden; `grun_source`: W and b), its gate, or both. With `output_hidden_states` the
    entry of an edited block is its output before the edit; the entries of later blocks include the edit.

    Args:
        base_layer: the decoder block.
        block: its 0-based index.
        hidden_size: of the model.
        state: shared by all wrapped blocks of the model.
    """

    adapter_layer_names = ("grun_rotate", "grun_source", *GATE_PARTS)
    other_param_names = ("configs",)

    def __init__(self, base_layer: nn.Module, block: int, hidden_size: int, state: PromptState):
        """Wrap the block, still without an adapter."""
        super().__init__()
        self.base_layer = base_layer
        self.block = block
        self.hidden_size = hidden_size
        self.state = state
        self.configs: dict[str, ReftConfig] = {}
        # One flat dictionary for each parameter, as in LoRA: PEFT finds the adapter's name only in keys of this form.
        self.grun_rotate = nn.ParameterDict()
        self.grun_source = nn.ModuleDict()
        self.grun_gate_in = nn.ModuleDict()
        self.grun_gate_mid = nn.ModuleDict()
        self.grun_gate = nn.ModuleDict()
        self.grun_gate_query = nn.ModuleDict()
        self.grun_answer_gate = nn.ModuleDict()
        self.merged_adapters = []

    def __getattr__(self, name: str):
        """Return an attribute of the wrapped block; decoders read some, such as `attention_type`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)

    def update_layer(self, adapter: str, config: ReftConfig) -> None:
        """Add an adapter's parameters for this block, initialised as in LoReFT: R orthonormal, W and b as in `nn.Linear`."""
        self.configs[adapter] = config
        place = {"device": next(self.base_layer.parameters()).device, "dtype": torch.float32}
        if self.block in (config.blocks or []):
            self.grun_rotate[adapter] = nn.Parameter(nn.init.orthogonal_(torch.empty(config.rank, self.hidden_size, **place)))
            self.grun_source[adapter] = nn.Linear(self.hidden_size, config.rank, **place)
        if isinstance(config, GrunConfig) and config.gate_reads(self.block):
            maps = config.answer_maps if config.answer_gate and self.block == (config.gate_blocks or [])[0] else 0
            for name, part in new_gate(config.gate, config.gate_pool, self.hidden_size, maps, **place).items():
                getattr(self, name)[adapter] = part
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *args: object, **kwargs: object) -> Tensor | tuple:
        """Return the block's output, edited by the active adapters; a tuple if the block returns one."""
        output = self.base_layer(*args, **kwargs)
        if self.disable_adapters:
            return output
        if isinstance(output, tuple):
            return (self._edited(output[0]), *output[1:])
        return self._edited(output)

    def _edited(self, hidden: Tensor) -> Tensor:
        edited, by_positions = hidden, dict[tuple[str, str], list[str]]()
        with torch.autocast(hidden.device.type, enabled=False):
            for adapter in self.active_adapters:
                if adapter in self.grun_gate:
                    self._run_gate(adapter, hidden)
                if adapter in self.grun_rotate:
                    positions = self.configs[adapter].positions
                    # Where a gate fires differs from adapter to adapter; the other positions are the same for all.
                    by_positions.setdefault((positions, adapter if positions == "fired" else ""), []).append(adapter)
            for (positions, _), adapters in by_positions.items():
                edited = self._add_edits(positions, adapters, hidden, edited)
        return edited

    def _run_gate(self, adapter: str, hidden: Tensor) -> None:
        prompts, config, parts = self.state.prompts, cast(GrunConfig, self.configs[adapter]), self.gate(adapter)
        if (adapter, config.gate_of(self.block)) in known_gate_logits():
            return
        if ANSWER_GATE in parts:
            self.state.answer_scores[adapter] = answer_scores(parts, gate_input(hidden, config.gate_layer_norm))
        if config.reads_on:
            self._read_on(adapter, hidden)
        # The gate decides once for each prompt, and its decision holds while the answer is generated, unless it reads the answer too.
        if prompts is not None:
            self._read_prompts(adapter, hidden, prompts)
        if config.answer_gate and self.block == config.last_gate and config.threshold is not None:
            self._read_answers(adapter, config.threshold + config.answer_margin, hidden.device)

    def _read_prompts(self, adapter: str, hidden: Tensor, prompts: Prompts) -> None:
        config, parts = cast(GrunConfig, self.configs[adapter]), self.gate(adapter)
        if config.pooled:
            states = gate_input(hidden, config.gate_layer_norm)
            tokens, blocks = prompts.tokens.to(hidden.device), config.gate_blocks or []
            if self.block == blocks[0]:
                # An earlier forward pass may have stopped below the highest of these blocks, and left values behind.
                self.state.partial[adapter] = []
            self.state.partial[adapter].append((pooled_logits(parts, config.gate_pool, states, tokens), token_scores(parts, states)))
            if self.block != blocks[-1]:
                return
            partial = zip(*self.state.partial.pop(adapter), strict=True)
            logit, scores = (torch.stack([value.to(hidden.device) for value in values]).mean(0) for values in partial)
            if config.positions == "fired":
                self.state.fired[adapter] = tokens & (scores >= (config.threshold or 0.0))
            if config.answer_gate and not config.reads_on:
                # What the model is about to say shows at the last prompt token already.
                answer = self.state.answer_scores[adapter].to(hidden.device)
                logit = torch.maximum(logit, answer.gather(1, prompts.last.to(hidden.device)[:, None])[:, 0])
        else:
            rows = torch.arange(len(hidden), device=hidden.device)
            logit = token_scores(parts, hidden[rows, prompts.last.to(hidden.device)].float())
        self.state.logits[adapter, self.block] = logit
        publish_gate_logits(adapter, self.block, logit)

    def _read_on(self, adapter: str, hidden: Tensor) -> None:
        """Pool the scores of the answer's tokens together with those of the prompt, and add up the blocks' shares of their mean."""
        config, parts, key, state = cast(GrunConfig, self.configs[adapter]), self.gate(adapter), memory_key(adapter, self.block), self.state
        states, blocks = gate_input(hidden, config.gate_layer_norm), config.gate_blocks or []
        if state.prompts is None:
            memory = state.logits[key].to(hidden.device)
        else:
            memory = pooled_memory(parts, config.gate_pool, states, state.prompts.tokens.to(hidden.device))
        logits, state.logits[key] = read_on(parts, config.gate_pool, states, state.answer(hidden), memory)
        publish_gate_logits(*key, state.logits[key])
        # An earlier forward pass may have stopped below the highest of these blocks, and left a sum behind.
        before = 0.0 if self.block == blocks[0] else state.answer_scores[adapter].to(hidden.device)
        state.answer_scores[adapter] = before + logits / len(blocks)

    def _read_answers(self, adapter: str, threshold: float, device: torch.device) -> None:
        """Open the gate at the first token of each answer that reaches a threshold, for the rest of the answer."""
        state = self.state
        reached = state.reached(state.answer_scores.pop(adapter).to(device)) >= threshold
        state.answer_open[adapter] = reached
        logit = state.logits[adapter, self.block].to(device)
        raised = torch.where(reached[:, -1], logit.clamp(min=threshold), logit)
        # The rest may come in later passes. Of several tokens in one pass, those before the opening one stay unedited.
        if state.prompts is None and reached.shape[1] == 1:
            state.logits[adapter, self.block] = raised
        publish_gate_logits(adapter, self.block, raised)

    def gate(self, adapter: str) -> dict[str, nn.Linear]:
        """Return the parts of an adapter's gate in this block, see `expunge.edits.grun.gate.new_gate`; empty if it has none."""
        return {name: cast(nn.Linear, getattr(self, name)[adapter]) for name in GATE_PARTS if adapter in getattr(self, name)}

    def _add_edits(self, positions: str, adapters: list[str], hidden: Tensor, edited: Tensor) -> Tensor:
        """Apply adapters that act on the same positions, as one adapter of their joint rank."""
        window = self.state.window(positions, adapters[0], hidden)
        if window is None:
            return edited
        before, old, after = edited.tensor_split((window.start, window.stop), dim=1)
        # Contiguous: otherwise `linear` uses different kernels for trainable and frozen weights, and the last bit differs.
        states = hidden[:, window.start : window.stop].contiguous().float()
        rotate = _joined([self.grun_rotate[adapter] for adapter in adapters])
        sources = [cast(nn.Linear, self.grun_source[adapter]) for adapter in adapters]
        weight, bias = _joined([source.weight for source in sources]), _joined([source.bias for source in sources])
        gates = [self._gate_strength(adapter, hidden, window) for adapter in adapters]
        scales = [self.configs[adapter].scale(len(self.active_adapters)) for adapter in adapters]
        strengths = [scale * strength * is_open for scale, (strength, is_open) in zip(scales, gates, strict=True)]
        strength = torch.stack(torch.broadcast_tensors(*strengths), dim=-1)
        by_rank = strength.repeat_interleave(torch.tensor([source.out_features for source in sources], device=hidden.device), dim=-1)
        change = ((linear(states, weight, bias) - states @ rotate.T) * by_rank) @ rotate
        new = (old.float() + change).to(old.dtype)
        # Selected instead of multiplied by zero: a closed gate leaves every bit of the state unchanged.
        any_open = torch.stack(torch.broadcast_tensors(*(is_open for _, is_open in gates))).any(0)
        result = torch.where((window.mask & any_open)[..., None], new, old)
        return torch.cat((before, result, after), dim=1)

    def _gate_strength(self, adapter: str, hidden: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """Return the strength of an edit, in [0, 1], and whether it is on at all, bool.

        Both are (batch, 1), or (batch, tokens of the window) if a gate reads the answer too.
        """
        config = self.configs[adapter]
        if not isinstance(config, GrunConfig):
            always = torch.ones(len(hidden), 1, device=hidden.device)
            return always, always.bool()
        logit = self.state.logits[adapter, config.gate_of(self.block)].to(hidden.device)[:, None]
        if config.threshold is None:
            return logit.sigmoid(), torch.ones_like(logit, dtype=torch.bool)
        is_open = logit >= config.threshold
        if (answer_open := self.state.answer_open.get(adapter)) is not None:
            is_open = is_open | answer_open.to(hidden.device)[:, window.start : window.stop]
        return (torch.ones_like(is_open, dtype=torch.float32) if config.pooled else logit.sigmoid()), is_open

    def enable_adapters(self, enabled: bool) -> None:
        """Set the flag and nothing else: PEFT's implementation would unfreeze the adapters of earlier requests."""
        self._disable_adapters = not enabled

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        # PEFT's implementation finds no `weight` in the block, and leaves the adapter on the device it was loaded to.
        target = device or next(self.base_layer.parameters()).device
        for name in self.adapter_layer_names:
            parts = getattr(self, name)
            if adapter_name in parts:
                parts[adapter_name] = parts[adapter_name].to(target)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@torch.no_grad()
def retract(model: nn.Module) -> None:
    """Make the rows of every trainable R orthonormal again; call it after each optimiser step.

    R is replaced by the Q of a QR decomposition whose triangular factor has a positive diagonal. This map is continuous and does
    not change an orthonormal matrix.
    """
    for layer in model.modules():
        if isinstance(layer, GrunLayer):
            for rotate in layer.grun_rotate.values():
                if rotate.requires_grad:
                    q, r = torch.linalg.qr(gather_shards(rotate).T)
                    rotate.copy_(shard_like(torch.where(r.diagonal() < 0, -q, q).T, rotate))
