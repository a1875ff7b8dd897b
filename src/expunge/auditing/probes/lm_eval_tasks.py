"""Run lm-eval tasks (lm-evaluation-harness, Gao et al., 2021, zenodo 5371628); needs the extra `expunge[lm-eval]`."""

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from itertools import groupby, islice
from math import isclose, isfinite
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from expunge.attestation.hashes import hash_files
from expunge.attestation.paths import data_files
from expunge.attestation.schema_audit import LmEval, LmEvalTask
from expunge.auditing.probes.base import ProbedModel
from expunge.auditing.summary import SetSummary
from expunge.console import Display
from expunge.data.prompts import PromptBuilder, batches_by_length
from expunge.documents import check_yaml
from expunge.errors import InputError
from expunge.metrics.statistics import Z95, Summary, proportion_ci
from expunge.models.prompt_cache import read_prompts
from expunge.models.shared_prompt_scoring import Ids, score_answers
from expunge.runs.cache import Measurement

try:
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
except ImportError as missing:
    raise InputError("--tasks: lm-eval tasks need the package lm_eval; pip install 'expunge[lm-eval]'") from missing

# The harness warns about every model that is passed as an object and about every default of a task.
logging.getLogger("lm_eval").setLevel(logging.ERROR)
RESAMPLES = 1000
"""Bootstrap resamples for the standard error of a metric that is not a mean."""
SEED = 1234
"""The harness's default, for few-shot examples and for sampled answers."""

Request = tuple[Any, list[int], list[int]]
"""A request in the harness's form: its key, the tokens of the context, the tokens of the continuation."""


@dataclass(frozen=True)
class LmEvalTasks:
    """The lm-eval tasks of an audit.

    Attributes:
        names: of tasks, groups or tags.
        manager: loads the tasks by name.
        described: their description in the attestation. Its `limit` is the number of examples used of each task; `chat` says whether the
            harness puts each prompt into the tokenizer's chat template.
    """

    names: list[str]
    manager: TaskManager
    described: LmEval

    def run(self, probed: ProbedModel, batch_size: int, display: Display) -> dict[str, SetSummary]:
        """Run all tasks on a model, or read the results from the cache.

        Args:
            probed: the model.
            batch_size: prompts at once.
            display: shows progress.

        Returns:
            {`lm-eval NAME`: {metric: Summary}}, for tasks and groups.

        Raises:
            InputError: chat prompts were requested, but the tokenizer has no chat template.
        """
        if self.described.chat and not probed.builder.tokenizer.chat_template:
            raise InputError(f"--task-chat: the tokenizer of the {probed.name} model has no chat template")
        described = self.described.model_dump(mode="json")
        settings = {"names": self.names, "described": described, "batch_size": batch_size}
        measurement = Measurement("lm-eval", probed.identity, probed.model, probed.builder, {}, **settings)
        results = measurement.load_or(lambda: self._evaluate(probed, batch_size, display))
        return {f"lm-eval {task}": summaries(result) for task, result in results.items()}

    def _evaluate(self, probed: ProbedModel, batch_size: int, display: Display) -> dict[str, dict[str, Any]]:
        """Return the harness's results of each task, as plain values for JSON."""
        loaded = self.manager.load(self.names)
        for task in loaded["tasks"].values():
            # These are the defaults of `simple_evaluate`, which would also query git and the whole machine.
            if task.get_config("num_fewshot") is None:
                task.set_config("num_fewshot", 0)
            task.set_fewshot_seed(SEED)
        torch.manual_seed(SEED)
        evaluated = evaluate(
            _PromptAwareLM(probed.model, probed.builder, batch_size, display, f"lm-eval tasks, {probed.name}"),
            task_dict=loaded,
            limit=self.described.limit,
            bootstrap_iters=RESAMPLES,
            log_samples=False,
            apply_chat_template=self.described.chat,
            system_instruction=probed.builder.system if self.described.chat else None,
        )
        results: Mapping[str, Any] = {} if evaluated is None else evaluated["results"]
        # A figure that a task leaves undefined is NaN there, and null here.
        return {task: json.loads(json.dumps(result, default=float), parse_constant=lambda _: None) for task, result in results.items()}


def read_tasks(names: Sequence[str], folder: Path | None = None, limit: int | None = None, chat: bool = False) -> LmEvalTasks:
    """Find lm-eval tasks and load their data, before anything is measured.

    Args:
        names: of tasks, groups or tags.
        folder: with YAML files of the user's tasks; names that it does not define are looked up among the harness's tasks.
        limit: use only the first so many examples of each task; None: all.
        chat: put each prompt into the chat template.

    Raises:
        InputError: a name is unknown, a task is faulty, or its data cannot be loaded.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"--task-files: {folder} is not a folder")
    # The harness reads every file there, with anchors that can multiply until the memory is full.
    for path in sorted(folder.rglob("*.yaml")) if folder else ():
        check_yaml(path, frozenset({"!function"}))
    manager = TaskManager(include_path=folder, include_defaults=False) if folder else TaskManager()
    if folder and not set(names) <= set(manager.all_tasks):
        # The harness has some ten thousand tasks; listing them takes seconds.
        manager = TaskManager(include_path=folder)
    requested_by: dict[str, str] = {}
    described: list[LmEvalTask] = []
    for name in names:
        if name not in manager.all_tasks:
            similar = ", ".join(get_close_matches(name, manager.all_tasks, 3))
            where = "" if folder is None else f", and neither has {folder}"
            raise InputError(f"--tasks: lm_eval has no task {name!r}{where}" + (f"; similar names: {similar}" if similar else ""))
        try:
            tasks = manager.load(name)["tasks"]
        # A task runs code of the task, of the harness and of `datasets`, which may raise anything.
        except Exception as error:
            message = str(error).strip().partition("\n")[0]
            raise InputError(f"--tasks: {name} cannot be loaded: {type(error).__name__}: {message}") from error
        for task, loaded in tasks.items():
            if loaded.get_config("unsafe_code"):
                raise InputError(f"--tasks: {task} runs code that the model writes, which expunge does not do")
            if task in requested_by:
                raise InputError(f"--tasks: {task} is requested twice, by {requested_by[task]} and by {name}")
            requested_by[task] = name
            described.append(_describe(task, loaded))
    files = [] if folder is None else hash_files(data_files(str(folder)))
    return LmEvalTasks(list(names), manager, LmEval(version=version("lm_eval"), limit=limit, chat=chat, tasks=described, files=files))


def _describe(name: str, task: Any) -> LmEvalTask:
    config, documents = task.dump_config(), list(task.eval_docs)
    task_version = str(config.get("metadata", {}).get("version", task.VERSION))
    return LmEvalTask(
        name=name, version=task_version, examples=len(documents), config_sha256=_sha256(config), examples_sha256=_sha256(documents)
    )


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def summaries(result: Mapping[str, Any]) -> SetSummary:
    """Convert the harness's result of one task (`metric,filter`, `metric_stderr,filter`, `sample_len`) to metrics with intervals."""
    metrics: SetSummary = {}
    for key, value in result.items():
        metric, comma, chosen = key.partition(",")
        # JSON has no infinity and no NaN.
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float) or not isfinite(value):
            continue
        error, n = result.get(f"{metric}_stderr,{chosen}"), result.get("sample_count", {}).get(key, result["sample_len"])
        metrics[metric if chosen == "none" else f"{metric} ({chosen})"] = _with_interval(float(value), error, n)
    return metrics


def _with_interval(value: float, error: object, n: int) -> Summary:
    if n < 2 or not isinstance(error, int | float) or not isfinite(error):
        return Summary(value, n)
    # The standard error has this size only if every value is 0 or 1, so the mean is a share.
    if isclose(error**2 * (n - 1), value * (1 - value), rel_tol=1e-6, abs_tol=1e-12):
        return proportion_ci(round(value * n), n)
    return Summary(value, n, (value - Z95 * error, value + Z95 * error))


class _PromptAwareLM(HFLM):
    """The harness's model, except that edits know where a prompt ends.

    The harness runs context and answer as one row, padded and without a mask. Then an edit that acts from the end of the prompt on would
    act after the answer, and a gate that reads the prompt would read the answer too.
    """

    def __init__(self, model: nn.Module, builder: PromptBuilder, batch_size: int, display: Display, title: str):
        # HFLM gives a padding token to a tokenizer without one.
        tokenizer = copy.deepcopy(builder.tokenizer)
        args = builder.template_args
        super().__init__(pretrained=cast(Any, model), tokenizer=cast(Any, tokenizer), batch_size=batch_size, chat_template_args=args)
        self.edited, self.pad, self.at_once, self.display, self.title = model, builder.pad, batch_size, display, title
        self.advance: Callable[[int], None] = lambda done: None

    # The next three methods show expunge's progress bars instead of the harness's.
    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Score the continuation of each context."""
        with self.display.bar(f"{self.title}: likelihoods", len(requests)) as self.advance:
            return super().loglikelihood(requests, disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Score texts without a prompt; a gate reads the one token that the harness puts before them."""
        with self.display.bar(f"{self.title}: texts", len(requests)) as self.advance:
            return super().loglikelihood_rolling(requests, disable_tqdm)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Generate as the harness does: it runs the prompt without an answer first, and with a mask."""
        with self.display.step(f"{self.title}: answers"):
            return super().generate_until(requests, disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood (nats) of each continuation, and whether greedy decoding would give it."""
        pairs = [(self._truncated(before, after), tuple(after)) for _, before, after in requests]
        # The options of a question are next to each other, so that their prompt is read only once.
        questions = [(prompt, [after for _, after in same_prompt]) for prompt, same_prompt in groupby(pairs, key=itemgetter(0))]
        results: list[list[tuple[float, bool]]] = [[] for _ in questions]
        for chosen in batches_by_length([prompt for prompt, _ in questions], self.at_once):
            batch = [questions[i] for i in chosen]
            for i, option_scores in zip(chosen, self._score(batch), strict=True):
                results[i] = option_scores
            self.advance(sum(len(options) for _, options in batch))
        return [score for option_scores in results for score in option_scores]

    def _score(self, questions: list[tuple[Ids, list[Ids]]]) -> list[list[tuple[float, bool]]]:
        prompts, options = [prompt for prompt, _ in questions], [options for _, options in questions]
        scores = score_answers(self.edited, read_prompts(self.edited, prompts, self.pad), options, self.pad)
        greedy = scores.greedy.split(scores.tokens.tolist())
        results = iter([(-nll, bool(matches.all())) for nll, matches in zip(scores.nll.tolist(), greedy, strict=True)])
        return [list(islice(results, len(question_options))) for question_options in options]

    def _truncated(self, before: list[int], after: list[int]) -> Ids:
        """Return as many of the last context tokens as fit into the model with the continuation, whose last token is not an input."""
        return tuple(before[-(self.max_length + 1 - len(after)) :])
