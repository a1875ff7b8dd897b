"""The closed table of the audit's metrics: how each is called in a report and which way is better."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """How a metric is presented.

    Attributes:
        label: its name in tables and figures.
        on_forget: which direction is better on a forget set; None when neither is by itself.
        elsewhere: the same on every other set.
    """

    label: str
    on_forget: Better | None
    elsewhere: Better | None


METRICS = {
    "probability": Metric("Probability", "lower", "higher"),
    "rouge": Metric("ROUGE-L recall", "lower", "higher"),
    "truth_ratio": Metric("Truth ratio", "higher", "higher"),
    "extraction_strength": Metric("Extraction strength", "lower", "higher"),
    "exact_memorization": Metric("Exact memorization", "lower", "higher"),
    "accuracy_text": Metric("Accuracy by option text", "lower", "higher"),
    "accuracy_letters": Metric("Accuracy by letters", "lower", "higher"),
    # A refusal may be right or wrong on forgotten matters; on anything else it is a loss.
    "refusal": Metric("Refusals", None, "lower"),
    "degeneracy": Metric("Degenerate outputs", "lower", "lower"),
    "gate_open": Metric("Gate open", "higher", "lower"),
    "gate_auroc": Metric("Gate AUROC", "higher", "higher"),
    "gate_fpr95": Metric("Gate FPR at 95 % TPR", "lower", "lower"),
    # The goal on a forget set is the control's.
    "mia_loss": Metric("Membership AUROC, loss", None, None),
    "mia_zlib": Metric("Membership AUROC, zlib", None, None),
    "mia_min_k": Metric("Membership AUROC, Min-K %", None, None),
    "mia_min_k_plus_plus": Metric("Membership AUROC, Min-K++ %", None, None),
    "mia_reference": Metric("Membership AUROC, reference", None, None),
    "mia_grad_norm": Metric("Membership AUROC, gradient", None, None),
    "privleak": Metric("PrivLeak", None, None),
    "leak_rate": Metric("Leaks a draw", "lower", "lower"),
    "forget_quality": Metric("Forget quality (KS p)", "higher", "higher"),
    "neighbour_utility": Metric("Utility of the nearest", "higher", "higher"),
    "perplexity": Metric("Perplexity", "higher", "lower"),
    "model_utility": Metric("Model utility", "higher", "higher"),
}
