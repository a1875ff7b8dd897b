"""Membership inference: scores that separate records a model was trained on from records it never saw; AUROC and PrivLeak."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import fmean
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, Encoded, PromptBuilder, batches_by_length, collate
from expunge.data.records import Record
from expunge.errors import InputError
from expunge.metrics.gate import auroc
from expunge.metrics.likelihood import AnswerScore, each_answer, min_k, min_k_plus_plus, zlib_ratio
from expunge.metrics.statistics import Summary, auroc_ci, percentile_interval, resampled_auroc
from expunge.models.parameters import base_parameters, frozen_parameters
from expunge.models.scores import Scores
from expunge.models.scoring import score

SCORES = {
    "loss": "mean token loss (LOSS, Yeom et al., 2018, arXiv 1709.01604)",
    "zlib": "loss per byte of the compressed answer (Carlini et al., 2021, arXiv 2012.07805)",
    "min_k": "mean loss of the least likely tokens (Min-K %, Shi et al., 2024, arXiv 2310.16789)",
    "min_k_plus_plus": "Min-K %, standardised over the vocabulary (Min-K++ %, Zhang et al., 2024, arXiv 2404.02936)",
    "reference": "loss less a reference model's (Carlini et al., 2021)",
    "grad_norm": "norm of the loss's gradient (Wang et al., 2024, arXiv 2402.17012)",
}
"""Every score: the lower it is, the likelier the answer was trained on."""
SHARE = 0.4
"""Share of the tokens that Min-K uses, as in MUSE and OpenUnlearning."""

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
    """Compute every score of every record, from one forward pass and, for the gradient norm, one backward pass.

    Args:
        model: a causal LM in evaluation mode, with or without edits. Gradients that it holds are deleted.
        builder: of its tokenizer.
        members: forget records, which the original was trained on.
        nonmembers: records that no model was trained on, see `expunge.auditing.probes.nonmembers`.
        reference: a model of the same tokenizer, for the reference score.
        gradients: also compute the gradient norm; then one record is scored at a time.
        batch_size: records at once without gradients.
        compat: OpenUnlearning's values: Min-K scores leave the end of turn out, and the gradient norm is the mean of the norms of
            each weight's gradient instead of the norm of all gradients together.
        advance: called with the number of records done.

    Returns:
        One row a record, members first, both in their order: `id`, `member`, and the requested `SCORES`.
    """
    records = [*members, *nonmembers]
    encoded = [builder.record(record) for record in records]
    rows: list[Row] = [{"id": record.id, "member": i < len(members)} for i, record in enumerate(records)]
    device = next(model.parameters()).device
    for chosen in batches_by_length([(*row.prompt, *row.answer) for row in encoded], 1 if gradients else batch_size):
        batch = collate([encoded[i] for i in chosen], builder.pad).to(device)
        if gradients:
            scores, norms = _score_with_gradients(model, batch)
            rows[chosen[0]]["grad_norm"] = fmean(norms) if compat else float(np.linalg.norm(norms))
        else:
            with torch.no_grad():
                scores = score(model, batch, logits=True)
        with torch.no_grad():
            reference_scores = None if reference is None else score(reference, batch)
            for place, (i, answer) in enumerate(zip(chosen, each_answer(scores), strict=True)):
                rows[i] |= _likelihoods(builder, records[i], encoded[i], answer, scores, place, compat)
                if reference_scores is not None:
                    rows[i]["reference"] = answer.loss - (reference_scores.nll[place] / reference_scores.tokens[place]).item()
        advance(len(chosen))
    return rows


def membership_summary(rows: Sequence[Row]) -> dict[str, Summary]:
    """Return the AUROC of members against non-members for each score, as `mia_` and its name, with a bootstrap interval.

    0.5: the score does not separate the two. 1: every member scores as better known than every non-member. Below 0.5 the members score as
    less known than records that the model never saw, which also separates them (over-unlearning). Compare with the control: where the
    two sets differ in topic or style, a model that saw neither is not at 0.5.

    Args:
        rows: from `membership_rows`.

    Raises:
        ValueError: if there are no members, or no non-members.
    """
    return {f"mia_{name}": auroc_ci(*split(rows, name)) for name in SCORES if all(name in row for row in rows)}


def privleak(unlearned: Sequence[Row], control: Sequence[Row] | None, compat: bool = False) -> Summary:
    """Return PrivLeak by Min-K %: (AUC(unlearned) - AUC(control)) / AUC(control) (MUSE, Shi et al., 2024, arXiv 2407.06460, §3.1).

    The AUC is that of `membership_summary`: forget records as members against records that no model saw. 0: the unlearned model
    recognises the forget set no more than a model that never saw it. Positive: it still recognises it (under-unlearning). Negative: it
    knows it less than records that it never saw (over-unlearning).

    The paper defines the AUC in this way, but its code, its tables and its sentence on signs swap members and non-members (the model
    before unlearning is at -99.8 %), so that its signs are the opposite of ours. OpenUnlearning takes 1 - AUC of both models to
    reproduce the tables, and 0.5 for a missing control; this function requires a control.

    Args:
        unlearned: rows of the unlearned model.
        control: rows of a model that never saw the forget set, for the same records.
        compat: the value of the tables and of OpenUnlearning, in percent, with 1 - AUC. Compute the rows with `compat` too.

    Returns:
        The value, n records, and a bootstrap interval that resamples the records of both models alike; no interval if a resample of
        the control has an AUC of 0.

    Raises:
        InputError: if there is no control, or its AUC is 0.
        ValueError: if the two have different records.
    """
    if not control:
        raise InputError("PrivLeak compares with a model that never saw the forget set; give one as the control")
    if [(row["id"], row["member"]) for row in unlearned] != [(row["id"], row["member"]) for row in control]:
        raise ValueError("the unlearned model and the control were scored on different records")
    unlearned_scores, control_scores = split(unlearned, "min_k"), split(control, "min_k")
    value = _relative(np.array(auroc(*unlearned_scores)), np.array(auroc(*control_scores)), compat)
    if not np.isfinite(value):
        raise InputError(
            "PrivLeak has no value where the control's AUC is 0; give more records, or a control that never saw the forget set"
        )
    resampled = _relative(resampled_auroc(*unlearned_scores), resampled_auroc(*control_scores), compat)
    return Summary(float(value), len(unlearned), percentile_interval(resampled) if np.isfinite(resampled).all() else None)


def _relative(unlearned: np.ndarray, control: np.ndarray, compat: bool) -> np.ndarray:
    if compat:
        return (control - unlearned) / (1 - control + 1e-10) * 100
    with np.errstate(divide="ignore", invalid="ignore"):
        return (unlearned - control) / control


def split(rows: Sequence[Row], name: str) -> Split:
    """Return the negated scores of members and of non-members, so that members have the higher ones."""
    members, nonmembers = ([-row[name] for row in rows if row["member"] is is_member] for is_member in (True, False))
    return members, nonmembers


def _likelihoods(
    builder: PromptBuilder, record: Record, encoded: Encoded, answer: AnswerScore, scores: Scores, place: int, compat: bool
) -> Row:
    """Return the scores that need only a forward pass of the model; `place`: the record's row of the batch."""
    # Of a passage, only the continuation is scored.
    text = record.answer if record.is_question else cast(str, builder.tokenizer.decode(list(encoded.labels), skip_special_tokens=True))
    drop_end = compat and encoded.answer[-1] == builder.end_of_turn and answer.tokens > 1
    counted = answer.without_end() if drop_end else answer
    positions = (scores.rows == place).nonzero()[: counted.tokens, 0]
    return {
        "loss": answer.loss,
        "zlib": zlib_ratio(answer.loss, text),
        "min_k": min_k(counted.token_logprobs, SHARE),
        "min_k_plus_plus": min_k_plus_plus(scores.logits[positions], scores.targets[positions], SHARE),
    }


def _score_with_gradients(model: nn.Module, batch: Batch) -> tuple[Scores, list[float]]:
    """Score a batch, and return also the norm of the loss's gradient by each base weight."""
    with _gradient_norms(model) as norms:
        scores = score(model, batch, logits=True)
        (scores.nll / scores.tokens).sum().backward()
    return scores, norms


@contextmanager
def _gradient_norms(model: nn.Module) -> Iterator[list[float]]:
    """Yield a list to which a backward pass within this context appends the gradient norm of each base weight; gradients are deleted.

    Weights of an edit are left out, so that models with and without an edit are compared by the weights that both have.
    """
    norms: list[float] = []

    def record_norm(parameter: Tensor) -> None:
        norms.append(cast(Tensor, parameter.grad).float().norm().item())
        # One weight's gradient is held at a time.
        parameter.grad = None

    with frozen_parameters(model), torch.enable_grad(), ExitStack() as hooks:
        for parameter in base_parameters(model):
            hooks.callback(parameter.requires_grad_(True).register_post_accumulate_grad_hook(record_norm).remove)
        yield norms
