"""Tasks of lm-evaluation-harness (Gao et al., 2021, zenodo 5371628) put to the models of an audit; an extra: `expunge[lm-eval]`."""

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
from expunge.auditing.summary import SetSummary
from expunge.console import Display
from expunge.data.prompts import PromptBuilder, batches_by_length
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
    raise InputError("--tasks: tasks need the package lm_eval; pip install 'expunge[lm-eval]'") from missing

# It warns of every model that is an object and of every default of a task.
logging.getLogger("lm_eval").setLevel(logging.ERROR)
RESAMPLES = 1000
"""For the standard error of what is no mean."""
SEED = 1234
"""The harness's own, of few-shot examples and of sampled answers."""

Request = tuple[Any, list[int], list[int]]
"""As the harness has it: its own key, the context's tokens, those that follow."""


@dataclass(frozen=True)
class Tasks:
    """What is asked.

    Attributes:
        names: of tasks, groups or tags.
        manager: that knows them.
        described: as the record has them: `limit`, the first so many examples of each, and `chat`, whether each prompt goes into the
            tokenizer's chat template, as the harness does it.
    """

    names: list[str]
    manager: TaskManager
    described: LmEval

    def put_to(
        self, name: str, model: nn.Module, builder: PromptBuilder, identity: str, batch_size: int, display: Display
    ) -> dict[str, SetSummary]:
        """Ask a model all of it, or look up what it said.

        Args:
            name: original, unlearned or control.
            model: in evaluation mode, with its edit on or off.
            builder: of its tokenizer.
            identity: says which model it is: a hash of all that it is made of.
            batch_size: prompts at once.
            display: where progress goes.

        Returns:
            {`task NAME`: {metric: Summary}}, of groups too.

        Raises:
            InputError: the prompts are to be put into a chat template, and there is none.
        """
        if self.described.chat and not builder.tokenizer.chat_template:
            raise InputError(f"--task-chat: the tokenizer of the {name} model has no chat template")
        described = self.described.model_dump(mode="json")
        measurement = Measurement("lm-eval", identity, builder, {}, names=self.names, described=described, batch_size=batch_size)
        results = measurement.load_or(lambda: self._put_to(name, model, builder, batch_size, display))
        return {f"task {task}": summaries(of_task) for task, of_task in results.items()}

    def _put_to(self, name: str, model: nn.Module, builder: PromptBuilder, batch_size: int, display: Display) -> dict[str, dict[str, Any]]:
        """What the harness says of each task, as far as JSON can hold it."""
        loaded = self.manager.load(self.names)
        for task in loaded["tasks"].values():
            # As `simple_evaluate` has it, which also asks git and the whole machine what they are.
            if task.get_config("num_fewshot") is None:
                task.set_config("num_fewshot", 0)
            task.set_fewshot_seed(SEED)
        torch.manual_seed(SEED)
        said = evaluate(
            _Asked(model, builder, batch_size, display, f"Tasks, {name}"),
            task_dict=loaded,
            limit=self.described.limit,
            bootstrap_iters=RESAMPLES,
            log_samples=False,
            apply_chat_template=self.described.chat,
            system_instruction=builder.system if self.described.chat else None,
        )
        results: Mapping[str, Any] = {} if said is None else said["results"]
        return {task: json.loads(json.dumps(of_task, default=float)) for task, of_task in results.items()}


def read_tasks(names: Sequence[str], folder: Path | None = None, limit: int | None = None, chat: bool = False) -> Tasks:
    """Find tasks and load their data, before anything is measured.

    Args:
        names: as `Tasks` has them.
        folder: with YAML of one's own tasks; the harness's own are looked for where one is not there.
        limit: the first so many examples of each; none: all.
        chat: put each prompt into the chat template.

    Raises:
        InputError: a name is unknown, a task is faulty, or its data cannot be had.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"--task-files: {folder} is no folder")
    manager = TaskManager(include_path=folder, include_defaults=False) if folder else TaskManager()
    if folder and not set(names) <= set(manager.all_tasks):
        # There are some ten thousand, which takes seconds.
        manager = TaskManager(include_path=folder)
    found: dict[str, str] = {}
    asked: list[LmEvalTask] = []
    for name in names:
        if name not in manager.all_tasks:
            near = ", ".join(get_close_matches(name, manager.all_tasks, 3))
            where = "" if folder is None else f", and {folder} has none"
            raise InputError(f"--tasks: lm_eval knows no task {name!r}{where}" + (f"; near it are {near}" if near else ""))
        try:
            tasks = manager.load(name)["tasks"]
        # A task runs code of its own, of the harness and of `datasets`; each of them raises what it likes.
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            raise InputError(f"--tasks: {name} cannot be loaded: {type(error).__name__}: {said}") from error
        for task, its in tasks.items():
            if its.get_config("unsafe_code"):
                raise InputError(f"--tasks: {task} runs what the model writes, which is not done here")
            if task in found:
                raise InputError(f"--tasks: {task} is asked twice, by {found[task]} and by {name}")
            found[task] = name
            asked.append(_described(task, its))
    files = [] if folder is None else hash_files(data_files(str(folder)))
    return Tasks(list(names), manager, LmEval(version=version("lm_eval"), limit=limit, chat=chat, tasks=asked, files=files))


def _described(name: str, task: Any) -> LmEvalTask:
    config, documents = task.dump_config(), list(task.eval_docs)
    said = str(config.get("metadata", {}).get("version", task.VERSION))
    return LmEvalTask(name=name, version=said, examples=len(documents), config_sha256=_sha256(config), examples_sha256=_sha256(documents))


def _sha256(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def summaries(said: Mapping[str, Any]) -> SetSummary:
    """The metrics of one task, from what the harness says of it: `metric,filter`, `metric_stderr,filter`, `sample_len`."""
    found: SetSummary = {}
    for key, value in said.items():
        metric, comma, chosen = key.partition(",")
        # What is not finite has no place in JSON.
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float) or not isfinite(value):
            continue
        error, n = said.get(f"{metric}_stderr,{chosen}"), said.get("sample_count", {}).get(key, said["sample_len"])
        found[metric if chosen == "none" else f"{metric} ({chosen})"] = _with_interval(float(value), error, n)
    return found


def _with_interval(value: float, error: object, n: int) -> Summary:
    if n < 2 or not isinstance(error, int | float) or not isfinite(error):
        return Summary(value, n)
    # Of values with this mean in [0, 1], those that are all 0 or 1 spread furthest, and only they so far.
    if isclose(error**2 * (n - 1), value * (1 - value), rel_tol=1e-6, abs_tol=1e-12):
        return proportion_ci(round(value * n), n)
    return Summary(value, n, (value - Z95 * error, value + Z95 * error))


class _Asked(HFLM):
    """The harness's own model, but for one thing: it says where a prompt ends.

    The harness runs context and answer as one row, padded and without a mask. An edit that acts from the end of the prompt onward would act
    behind the answer, and a gate that reads the prompt would read the answer too.
    """

    def __init__(self, model: nn.Module, builder: PromptBuilder, batch_size: int, display: Display, title: str):
        # It gives a tokenizer a padding token that has none.
        tokenizer = copy.deepcopy(builder.tokenizer)
        super().__init__(pretrained=cast(Any, model), tokenizer=cast(Any, tokenizer), batch_size=batch_size)
        self.asked, self.pad, self.at_once, self.display, self.title = model, builder.pad, batch_size, display, title
        self.advance: Callable[[int], None] = lambda done: None

    # Our bars in place of its.
    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Of what follows each context."""
        with self.display.bar(f"{self.title}: likelihoods", len(requests)) as self.advance:
            return super().loglikelihood(requests, disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Of texts without a prompt: a gate reads the one token that is put before them."""
        with self.display.bar(f"{self.title}: texts", len(requests)) as self.advance:
            return super().loglikelihood_rolling(requests, disable_tqdm)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """As the harness does it: a generation reads the prompt alone first, with a mask."""
        with self.display.step(f"{self.title}: answers"):
            return super().generate_until(requests, disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of what follows each context, and whether it is what the model would say itself."""
        every = [(self._room_for(after, before), tuple(after)) for _, before, after in requests]
        # The options of a question follow each other: their prompt is read once.
        questions = [(prompt, [after for _, after in own]) for prompt, own in groupby(every, key=itemgetter(0))]
        found: list[list[tuple[float, bool]]] = [[] for _ in questions]
        for chosen in batches_by_length([prompt for prompt, _ in questions], self.at_once):
            some = [questions[i] for i in chosen]
            for i, said in zip(chosen, self._scored(some), strict=True):
                found[i] = said
            self.advance(sum(len(options) for _, options in some))
        return [said for own in found for said in own]

    def _scored(self, questions: list[tuple[Ids, list[Ids]]]) -> list[list[tuple[float, bool]]]:
        prompts, options = [prompt for prompt, _ in questions], [options for _, options in questions]
        scores = score_answers(self.asked, read_prompts(self.asked, prompts, self.pad), options, self.pad)
        greedy = scores.greedy.split(scores.tokens.tolist())
        said = iter([(-nll, bool(own.all())) for nll, own in zip(scores.nll.tolist(), greedy, strict=True)])
        return [list(islice(said, len(own))) for own in options]

    def _room_for(self, after: list[int], before: list[int]) -> Ids:
        """The end of a context, for which the model has room beside what follows; that one's last token is not read."""
        return tuple(before[-(self.max_length + 1 - len(after)) :])
