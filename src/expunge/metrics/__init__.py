"""Metrics of an audit: one file each with the formula, one line each in `METRICS` with what a report and a summary need."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """How a metric is described, and how an audit summarises it over the records of a set.

    Attributes:
        label: its name in tables and figures.
        on_forget: the better direction on a forget set; None if neither is better by itself.
        elsewhere: the better direction on every other set.
        definition: what the number is, in a few words; the function's docstring has the formula and the source.
        column: the column of a record's row that is averaged; empty if the metric compares sets or models instead.
        is_share: whether the column is true or false, so that the number is a share with Wilson's interval.
    """

    label: str
    on_forget: Better | None
    elsewhere: Better | None
    definition: str = ""
    column: str = ""
    is_share: bool = False


METRICS = {
    "probability": Metric("Probability", "lower", "higher", "length-normalised, of the true answer; 0 to 1 (TOFU)", "probability"),
    "rouge": Metric("ROUGE-L recall", "lower", "higher", "of the greedy answer against the true one; 0 to 1", "rouge"),
    "chrf": Metric("chrF", "lower", "higher", "character n-grams of the greedy answer against the true one's; 0 to 1", "chrf"),
    "reasoning": Metric(
        "ROUGE-L recall, reasoning", "lower", None, "of the reasoning before the answer against the true answer; 0 to 1", "reasoning"
    ),
    "truth_ratio": Metric("Truth ratio", "higher", "higher", "right against wrong answers; 0 to 1, the closer to 1 the better (TOFU)"),
    "extraction_strength": Metric(
        "Extraction strength", "lower", "higher", "share of the answer that its beginning yields; 0 to 1", "extraction_strength"
    ),
    "exact_memorization": Metric(
        "Exact memorization", "lower", "higher", "share of answer tokens that greedy decoding gets right; 0 to 1", "exact_memorization"
    ),
    "accuracy_text": Metric(
        "Accuracy by option text", "lower", "higher", "the right option's text is the likeliest per character", "right_by_text", True
    ),
    "accuracy_letters": Metric(
        "Accuracy by letters", "lower", "higher", "the right option's letter is the likeliest", "right_by_letters", True
    ),
    # Whether a refusal is right depends on the forget set; on anything else it is a loss.
    "refusal": Metric("Refusals", None, "lower", "share of answers that begin with a refusal, in eleven languages", "refusal", True),
    "degeneracy": Metric("Degenerate outputs", "lower", "lower", "share of answers that are empty, loops or noise", "degenerate", True),
    "gate_open": Metric("Gate open", "higher", "lower", "share of prompts that the gate opens for"),
    "gate_auroc": Metric("Gate AUROC", "higher", "higher", "of gate logits, forget prompts against retain paraphrases"),
    "gate_fpr95": Metric("Gate FPR at 95 % TPR", "lower", "lower", "false positive rate where 95 % of forget prompts pass"),
    # The goal on a forget set is the control's value.
    "mia_loss": Metric("Membership AUROC, loss", None, None, "forget records against records that no model saw, by mean loss"),
    "mia_zlib": Metric("Membership AUROC, zlib", None, None, "the same, by loss per byte of the compressed answer"),
    "mia_min_k": Metric("Membership AUROC, Min-K %", None, None, "the same, by the loss of the least likely tokens"),
    "mia_min_k_plus_plus": Metric("Membership AUROC, Min-K++ %", None, None, "the same, standardised over the vocabulary"),
    "mia_reference": Metric("Membership AUROC, reference", None, None, "the same, by loss less a reference model's"),
    "mia_grad_norm": Metric("Membership AUROC, gradient", None, None, "the same, by the norm of the loss's gradient"),
    "privleak": Metric("PrivLeak", None, None, "relative distance of the Min-K AUROC from the control's; 0 is best (MUSE)"),
    "leak_rate": Metric("Leaks per sample", "lower", "lower", "share of sampled answers that state the fact"),
    "forget_quality": Metric("Forget quality (KS p)", "higher", "higher", "p-value: truth ratios against the control's (TOFU)"),
    "neighbour_utility": Metric("Neighbour utility", "higher", "higher", "model utility on the retain records nearest to the forget set"),
    "perplexity": Metric("Perplexity", "higher", "lower", "of neutral texts; 1 or more"),
    "model_utility": Metric("Model utility", "higher", "higher", "harmonic mean over all sets but the forget sets; 0 to 1 (TOFU)"),
}
"""{metric: its description}; tables follow this order."""
