"""`expunge gate`: show what a run's gate decides about a prompt, token by token."""

from typing import Annotated

import typer

from expunge.cli.options import MovedModel
from expunge.cli.placement import Device, Dtype

EXAMPLE = 'expunge gate runs/people "Where does Basil Mahfouz live?"'


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    text: Annotated[list[str], typer.Argument(help="What a user might type; each argument is a prompt by itself.")],
    model: MovedModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Show whether the gate opens for a prompt, and which tokens raise its logit most.

    The gate reads several blocks. A token's score is the mean of its scores in these blocks. The gate's logit is the mean of the blocks'
    logits; each block pools its own token scores.
    """
    from rich.text import Text

    from expunge.cli.output import standard_output
    from expunge.console import Display
    from expunge.data.records import Turn
    from expunge.errors import InputError
    from expunge.gating.inspect import check_gated, read_gate
    from expunge.models.blocks import check_length
    from expunge.models.placement import choose_placement
    from expunge.reporting.gate_table import heat, highest_tokens
    from expunge.runs.loaded import load_run, open_run

    if empty := [prompt for prompt in text if not prompt.strip()]:
        raise InputError(f"{empty[0]!r}: the prompt is empty")
    opened, console = open_run(run, model), standard_output()
    check_gated(opened)
    with Display().step("Loading the model"):
        loaded = load_run(opened, choose_placement(device, dtype))
        edited, builder = loaded.model, loaded.builder
    prompts = [builder.prompt((Turn("user", prompt),)) for prompt in text]
    for ids in prompts:
        check_length(edited, len(ids), "the prompt")
    for ids in prompts:
        look = read_gate(edited, builder, ids)
        console.print(Text(f"The gate {look.description}."))
        if look.tokens:
            console.print(heat(look))
            console.print(Text(f"Highest scores (a darker token raises the gate's logit more): {highest_tokens(look)}\n"))
