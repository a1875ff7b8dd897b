"""Compute what a GRUN training step costs at least: operations, and bytes of weights, activations and prefix cache. Nothing is measured.

    python -m benchmarks.unlearning.arithmetic [--prompt 60] [--answer 40] [--rows 32]

Rows are forget and retain rows together; the first edited block is L - 12, as published. The forward and the backward pass (to the
activations only: the weights are frozen) cost 2 operations a weight and token each; attention itself is left out, as it is small at
these lengths. The backward pass begins at the first edited block, so a full step is L + 12 passes of a block over all tokens, a
step from the frozen prefix 24 over the last prompt token and the answer; the head is passed twice over the answers in both.
"""

import argparse
from dataclasses import dataclass

ABOVE = 12


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama-like model."""

    name: str
    blocks: int
    hidden: int
    keys: int
    inner: int
    vocabulary: int
    tied: bool

    @property
    def block(self) -> int:
        """Weights of a block: q and o, k and v, the three of the MLP."""
        return 2 * self.hidden**2 + 2 * self.hidden * self.keys + 3 * self.hidden * self.inner

    @property
    def head(self) -> int:
        """Weights of the output head."""
        return self.hidden * self.vocabulary

    @property
    def weights(self) -> int:
        """Weights of the model; the head may be tied to the embeddings."""
        return self.blocks * self.block + self.head * (1 if self.tied else 2)


SHAPES = (
    Shape("SmolLM2-135M", 30, 576, 192, 1536, 49152, True),
    Shape("Llama-3.2-1B", 16, 2048, 512, 8192, 128256, True),
    Shape("Llama-3.1-8B", 32, 4096, 1024, 14336, 128256, False),
    Shape("Llama-3.1-70B", 80, 8192, 1024, 28672, 128256, False),
)


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Attributes:
        prompt, answer: mean tokens of a row.
        rows: of both sets.
    """

    shape: Shape
    prompt: float
    answer: float
    rows: int

    @property
    def full(self) -> float:
        """Operations of a step with the full forward pass."""
        passes = (self.shape.blocks + ABOVE) * (self.prompt + self.answer)
        return 2 * self.rows * (passes * self.shape.block + 2 * self.answer * self.shape.head)

    @property
    def frozen(self) -> float:
        """Operations of a step from the cached prefix."""
        return 2 * self.rows * (2 * ABOVE * (self.answer + 1) * self.shape.block + 2 * self.answer * self.shape.head)

    def store(self, width: int = 2) -> float:
        """Bytes of one row in the prefix cache: states from the last prompt token on, keys and values before it."""
        return width * ((self.answer + 1) * self.shape.hidden + 2 * self.shape.keys * (self.prompt - 1) * (ABOVE - 1))

    def activations(self, frozen: bool, width: int = 2) -> float:
        """Bytes stored for the backward pass above the first edited block: norms, projections and the MLP's three products."""
        by_token = 6 * self.shape.hidden + 2 * self.shape.keys + 3 * self.shape.inner
        return width * ABOVE * by_token * self.rows * (self.answer + 1 if frozen else self.prompt + self.answer)

    @property
    def trained(self) -> int:
        """Parameters of three rank-4 modules with linear gates: R, W, b, and the gate's vector and bias."""
        return 3 * (2 * 4 * self.shape.hidden + 4 + self.shape.hidden + 1)


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", type=float, default=60)
    parser.add_argument("--answer", type=float, default=40)
    parser.add_argument("--rows", type=int, default=32)
    args = parser.parse_args()
    print(
        "| model | weights, fp32 | trained | step, full | step, frozen prefix | ratio | store a row | activations, full | frozen prefix |"
    )
    print("|---" * 9 + "|")
    for shape in SHAPES:
        step = Step(shape, args.prompt, args.answer, args.rows)
        cells = [shape.name, f"{4 * shape.weights / 1e9:.1f} GB", f"{step.trained:,}", f"{step.full / 1e12:.2f} TFLOP"]
        cells += [f"{step.frozen / 1e12:.2f} TFLOP", f"{step.full / step.frozen:.1f}", f"{step.store() / 1e6:.2f} MB"]
        cells += [f"{step.activations(frozen) / 1e9:.2f} GB" for frozen in (False, True)]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
