"""Compare NeuralUCB with random search on a known reward over real features of soft prompts; write the table into docs/results/.

    python -m benchmarks.reveal_release.reveal_search [--seeds 10] [--candidates 2000] [--budget 100] [--write]

The features are those of the reveal stage (last-layer states of the embedded model after soft prompt and seed text). The reward is a
random smooth function of them, another one for each seed. No model is queried, so only the search is measured.
"""

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.results import measured_on, write
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.models.loading import load
from expunge.models.placement import Placement, fast_dtype
from expunge.reveal_release.reveal.bandit import NeuralUCB
from expunge.reveal_release.reveal.candidates import Pool, pool_features, soft_prompts
from expunge.reveal_release.reveal.searchers import RandomSearch, Searcher

CPU = torch.device("cpu")
TOPICS = ("Write a question about a person.", "Write a question about a place.")
TOKENS, INTRINSIC_DIM, SCALE = 5, 10, 5.0
COMPONENTS, BUMPS = 8, 12
MARK = "<!-- reveal_search -->"


def main() -> None:
    """Search and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=2000)
    parser.add_argument("--budget", type=int, default=100, help="candidates to evaluate, 40 of them random starts")
    parser.add_argument("--write", action="store_true", help="write the table into the page in docs/results/")
    args = parser.parse_args()
    if args.budget > args.candidates:
        parser.error("--budget asks for more candidates than there are")
    display, started = Display(), time.monotonic()
    features = real_features(args.candidates, display)
    lines = ["| seed | random | NeuralUCB, full | NeuralUCB, diag | the best there is |", "|---|---|---|---|---|"]
    won = {"full": 0, "diag": 0}
    for seed in range(args.seeds):
        reward = known_reward(features, seed)
        best = {"random": best_of(RandomSearch(len(features), seed), reward, args.budget)}
        for covariance in ("full", "diag"):
            best[covariance] = best_of(NeuralUCB(features, seed, covariance=covariance), reward, args.budget)
            won[covariance] += best[covariance] > best["random"]
        lines.append(f"| {seed} | " + " | ".join(f"{value:.3f}" for value in (*best.values(), reward.max().item())) + " |")
        display.print(lines[-1])
    options = f"--seeds {args.seeds} --candidates {args.candidates} --budget {args.budget}"
    facts = (
        f"Better than random: full {won['full']} of {args.seeds}, diag {won['diag']} of {args.seeds}. {measured_on()}; {args.candidates} "
        f"candidates, {args.budget} evaluated; this call took {(time.monotonic() - started) / 60:.0f} min. "
        f"Command: `python -m benchmarks.reveal_release.reveal_search {options} --write`.\n"
    )
    text = "\n".join([*lines, "", facts])
    print(text)
    if args.write:
        write(MARK, text)


def real_features(count: int, display: Display) -> Tensor:
    """Return the features of `count` soft prompts of the embedded model."""
    model, tokenizer = load("smollm2-135m", Placement(CPU, fast_dtype(CPU)))
    pool = Pool(soft_prompts(model, count, TOKENS, INTRINSIC_DIM, SCALE, seed=0), TOPICS, ())
    with display.bar("Reading candidates", count) as advance:
        return pool_features(model, PromptBuilder(tokenizer), pool, advance)


def known_reward(features: Tensor, seed: int) -> Tensor:
    """Return a smooth reward in [0, 1] over the features' main components: bumps of random height at random candidates."""
    generator = torch.Generator().manual_seed(seed)
    centred = (features - features.mean(0)).double()
    left, _, _ = torch.linalg.svd(centred, full_matrices=False)
    components = left[:, :COMPONENTS] * len(features) ** 0.5
    centres = components[torch.randperm(len(features), generator=generator)[:BUMPS]]
    heights = torch.rand(BUMPS, generator=generator).double()
    near = torch.exp(-torch.cdist(components, centres).square() / (2 * COMPONENTS))
    return (near * heights).amax(1)


def best_of(searcher: Searcher, reward: Tensor, budget: int) -> float:
    """Return the best reward among the candidates that a searcher evaluates."""
    rewards: list[float] = []
    while len(rewards) < budget:
        for index in searcher.propose(budget - len(rewards)):
            rewards.append(reward[index].item())
            searcher.observe(index, rewards[-1])
    return float(np.max(rewards))


if __name__ == "__main__":
    main()
