"""Membership inference: scores of an answer that was trained on against those of one that never was, and what is left of the gap."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import fmean
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from expunge.data.prompts import Encoded, PromptBuilder, batches_by_length, collate
from expunge.data.records import Record
from expunge.errors import InputError
from expunge.metrics.gate import auroc
from expunge.metrics.likelihood import AnswerScore, each_answer, min_k, min_k_plus_plus, zlib_ratio
from expunge.metrics.statistics import Summary, auroc_ci, percentile_interval, resampled_auroc
from expunge.models.parameters import base_parameters, frozen_parameters
from expunge.models.scores import Scores
from expunge.models.scoring import score

SCORES = {
    "loss": "mean loss of a token (LOSS, Yeom et al., 2018, arXiv 1709.01604)",
    "zlib": "the same per byte of the compressed answer (Carlini et al., 2021, arXiv 2012.07805)",
    "min_k": "mean loss of the least likely tokens (Min-K %, Shi et al., 2024, arXiv 2310.16789)",
    "min_k_plus_plus": "the same, standardised over the vocabulary (Min-K++ %, Zhang et al., 2024, arXiv 2404.02936)",
    "reference": "loss less a reference model's (Carlini et al., 2021)",
    "grad_norm": "norm of the loss's gradient (Wang et al., 2024, arXiv 2402.17012)",
}
"""Every score, nats or made of nats: the lower it is, the likelier the answer was trained on."""
SHARE = 0.4
"""Of the tokens, for Min-K: MUSE's and OpenUnlearning's choice."""

Row = dict[str, Any]
Split = tuple[list[float], list[float]]


def membership_rows(
    model: nn.Module,
    builder: PromptBuilder,
    members: Sequence[Record],
    nonmembers: Sequence[Record],
    reference: nn.Module | None = None,
    gradients: bool = True,
    batch_size: int = 16,
    compat: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Row]:
    """Every score of every record, from one forward pass and for the gradient one backward pass.

    Args:
        model: a causal LM in evaluation mode, with or without edits. Gradients that it holds are lost.
        builder: of its tokenizer.
        members: records that the original was trained on and that are to be forgotten.
        nonmembers: records that no model was trained on, see `expunge.auditing.probes.nonmembers`.
        reference: a model of the same tokenizer, for the reference score.
        gradients: score by the gradient's norm too; then one record is scored at a time.
        batch_size: records at once without gradients.
        compat: OpenUnlearning's values: Min-K scores leave the end of turn out, and the gradient's norm is the mean of the norms of
            the weights' gradients instead of the norm of all of them together.
        advance: called with the number of records done.

    Returns:
        A row a record, members first, each in their order: `id`, `member`, and of `SCORES` those that were asked for.
    """
    records = [*members, *nonmembers]
    encoded = [builder.record(record) for record in records]
    rows: list[Row] = [{"id": record.id, "member": i < len(members)} for i, record in enumerate(records)]
    device = next(model.parameters()).device
    for chosen in batches_by_length([(*row.prompt, *row.answer) for row in encoded], 1 if gradients else batch_size):
        batch = collate([encoded[i] for i in chosen], builder.pad).to(device)
        if gradients:
            with _gradient_norms(model) as norms:
                scores = score(model, batch, logits=True)
                (scores.nll / scores.tokens).sum().backward()
            rows[chosen[0]]["grad_norm"] = fmean(norms) if compat else float(np.linalg.norm(norms))
        else:
            with torch.no_grad():
                scores = score(model, batch, logits=True)
        with torch.no_grad():
            known = None if reference is None else score(reference, batch)
            for place, (i, answer) in enumerate(zip(chosen, each_answer(scores), strict=True)):
                rows[i] |= _likelihoods(builder, records[i], encoded[i], answer, scores, place, compat)
                if known is not None:
                    rows[i]["reference"] = answer.loss - (known.nll[place] / known.tokens[place]).item()
        advance(len(chosen))
    return rows


def membership_summary(rows: Sequence[Row]) -> dict[str, Summary]:
    """AUROC of members against non-members by each score there is, as `mia_` and its name, with a bootstrap interval.

    0.5 when the two cannot be told apart, 1 when every member looks better known than every non-member. Below 0.5 the members look
    less known than records that the model never saw: that too tells them apart (over-unlearning). Compare with the control's: where
    the two sets differ in topic or style, a model that saw neither is not at 0.5.

    Args:
        rows: as `membership_rows` gives them.

    Raises:
        ValueError: if there are no members, or no non-members.
    """
    return {f"mia_{name}": auroc_ci(*split(rows, name)) for name in SCORES if all(name in row for row in rows)}


def privleak(unlearned: Sequence[Row], control: Sequence[Row] | None, compat: bool = False) -> Summary:
    """PrivLeak (MUSE, Shi et al., 2024, arXiv 2407.06460, §3.1): (AUC(unlearned) - AUC(control)) / AUC(control), by Min-K %.

    The AUC is `membership_summary`'s, of forget records as members against records that nobody saw. 0: the forget set stands out no
    more than for a model that never saw it; positive: it is still recognised (under-unlearning); negative: it is known less than what
    was never seen (over-unlearning).

    The paper defines the AUC so, but its code, its tables and its sentence on signs have members and non-members the other way round
    (the model before unlearning is at -99.8 %): its signs are the opposite of ours. OpenUnlearning takes 1 - AUC of both models to
    give the tables' values, and 0.5 for the control where there is none; a number without a control is never given here.

    Args:
        unlearned: rows of the unlearned model.
        control: rows of a model that never saw the forget set, of the same records.
        compat: the tables' and OpenUnlearning's value, in percent, with 1 - AUC. Make the rows with `compat` too.

    Returns:
        The value, n records, and a bootstrap interval that resamples the records of both models alike; no interval where a resample
        of the control has an AUC of 0.

    Raises:
        InputError: if there is no control, or its AUC is 0.
        ValueError: if the two are not of the same records.
    """
    if not control:
        raise InputError("PrivLeak compares with a model that never saw the forget set; give one as the control")
    if [(row["id"], row["member"]) for row in unlearned] != [(row["id"], row["member"]) for row in control]:
        raise ValueError("the rows of the unlearned model and of the control are not of the same records")
    own, other = split(unlearned, "min_k"), split(control, "min_k")
    value = _relative(np.array(auroc(*own)), np.array(auroc(*other)), compat)
    if not np.isfinite(value):
        raise InputError(
            "PrivLeak has no value where the control's AUC is 0; give more records, or a control that never saw the forget set"
        )
    drawn = _relative(resampled_auroc(*own), resampled_auroc(*other), compat)
    return Summary(float(value), len(unlearned), percentile_interval(drawn) if np.isfinite(drawn).all() else None)


def _relative(own: np.ndarray, other: np.ndarray, compat: bool) -> np.ndarray:
    if compat:
        return (other - own) / (1 - other + 1e-10) * 100
    with np.errstate(divide="ignore", invalid="ignore"):
        return (own - other) / other


def split(rows: Sequence[Row], name: str) -> Split:
    """Scores of members and of non-members, turned so that members have the higher ones."""
    members, nonmembers = ([-row[name] for row in rows if row["member"] is kind] for kind in (True, False))
    return members, nonmembers


def _likelihoods(
    builder: PromptBuilder, record: Record, encoded: Encoded, answer: AnswerScore, scores: Scores, place: int, compat: bool
) -> Row:
    """The scores that need nothing but the model's own forward pass; `place`: the record's row of the batch."""
    # Of a plain text, only its last part is scored.
    said = record.answer if record.turns else cast(str, builder.tokenizer.decode(list(encoded.answer), skip_special_tokens=True))
    ended = compat and encoded.answer[-1] == builder.end_of_turn and answer.tokens > 1
    counted = answer.without_end() if ended else answer
    own = (scores.rows == place).nonzero()[: counted.tokens, 0]
    return {
        "loss": answer.loss,
        "zlib": zlib_ratio(answer.loss, said),
        "min_k": min_k(counted.token_logprobs, SHARE),
        "min_k_plus_plus": min_k_plus_plus(scores.logits[own], scores.targets[own], SHARE),
    }


@contextmanager
def _gradient_norms(model: nn.Module) -> Iterator[list[float]]:
    """Within this context a backward pass leaves the norms of the gradients of a model's own weights in the list, and no gradients.

    An edit's weights are left out: models with and without one are compared by the weights that both have.
    """
    norms: list[float] = []

    def note(parameter: Tensor) -> None:
        norms.append(cast(Tensor, parameter.grad).float().norm().item())
        # One weight's gradient is held at a time.
        parameter.grad = None

    with frozen_parameters(model), torch.enable_grad(), ExitStack() as hooks:
        for parameter in base_parameters(model):
            hooks.callback(parameter.requires_grad_(True).register_post_accumulate_grad_hook(note).remove)
        yield norms
