"""Cut long records: texts into passages, long answers into an answer and its continuations, and the middle out of long prompts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from expunge.data.chat_format import TemplateRefused
from expunge.data.passages import PassageSize, cut_before, end_of, overlapping_passages, prompt_start, separate_passages, token_spans
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.errors import InputError, quoted

ELLIPSIS = " … "
END_TOKENS = 4
"""Room for the end of a turn, and for a few tokens that a text has more in its place than alone."""
CHARS_A_TOKEN = 32
"""More characters than a token has on average in any text, so that a long text is not searched from its end."""
SURELY_SHORT = 0.5
"""A record with fewer bytes than this share of the most tokens is short: no tokenizer makes more than a token of a byte, and the template's
tokens have the other half."""


@dataclass(frozen=True)
class CutCounts:
    """What was cut in a set of records.

    Attributes:
        texts: plain texts that became several passages.
        passages: their passages.
        answers: questions whose answers were too long.
        continuations: further records with the rest of these answers; 0 in a retain set, where the rest is left out.
        prompts: prompts that lost their middle.
    """

    texts: int = 0
    passages: int = 0
    answers: int = 0
    continuations: int = 0
    prompts: int = 0


@dataclass(frozen=True)
class Cut:
    """The records of a set after the cut, and what was cut."""

    records: list[Record]
    counts: CutCounts


def needs_cut(record: Record, max_tokens: int) -> bool:
    """Return whether the tokenizer has to say how a record is cut: of every plain text, and of records that may be too long."""
    texts = [*(turn.content for turn in record.turns), record.answer, record.paraphrased_prompt, record.paraphrased_answer]
    longest = max([*texts, *record.wrong_answers, *record.alternatives], key=lambda text: len(text or "")) or ""
    whole = sum(len(turn.content.encode()) for turn in record.turns) + len(longest.encode())
    return not record.turns or whole > SURELY_SHORT * max_tokens


def cut_records(
    builder: Callable[[], PromptBuilder], records: Sequence[Record], size: PassageSize, max_tokens: int, to_forget: bool, source: str
) -> Cut:
    """Cut the long records of a set; the same records give the same cut.

    Nothing of a forget set is left out but the middle of prompts that are too long: each of its texts and answers goes on in further
    records. Retain passages share no tokens, and the rest of a long retain answer is left out, so that a record that is held out has
    nothing in common with one that is trained on.

    Args:
        builder: returns the prompt builder; called only if a record needs it.
        records: a set of records.
        size: of passages.
        max_tokens: the most tokens of a prompt with its answer.
        to_forget: whether it is a forget set.
        source: of the records, for errors.

    Raises:
        InputError: two records have the same id after the cut.
    """
    cut, counts = list[Record](), dict.fromkeys(CutCounts.__annotations__, 0)
    for record in records:
        if not needs_cut(record, max_tokens):
            cut.append(record)
            continue
        if record.turns:
            parts, shortened = _question_parts(builder(), record, size, max_tokens, to_forget)
            counts["prompts"] += shortened
            counts["answers"] += parts[0].answer != record.answer
            counts["continuations"] += len(parts) - 1
        else:
            parts = (overlapping_passages if to_forget else separate_passages)(builder(), record, size)
            counts["texts"] += len(parts) > 1
            counts["passages"] += len(parts) if len(parts) > 1 else 0
        cut += parts
    if len(cut) > len(records):
        _check_ids(cut, source)
    return Cut(cut, CutCounts(**counts))


def remarks(counts: CutCounts, name: str, size: PassageSize, max_tokens: int) -> Iterator[str]:
    """Yield what a user should know about the cut of a set called `name`, in sentences."""
    if counts.texts:
        texts = f"{_number(counts.texts, 'text')} of the {name} set {'was' if counts.texts == 1 else 'were'} cut into "
        longest = f"the last of a text of at most {size.passage + size.passage // 4}"
        yield f"{texts}{_number(counts.passages, 'passage')} of {size.passage} tokens (data.passage_tokens), {longest}."
    limit = f"{max_tokens} tokens (data.max_tokens)"
    if counts.answers:
        rest = f"the rest is in {_number(counts.continuations, 'further record')}" if counts.continuations else "the rest is not used"
        yield f"{_number(counts.answers, 'answer')} of the {name} set would be longer than {limit} with the question: {rest}."
    if counts.prompts:
        yield f"{_number(counts.prompts, 'prompt')} of the {name} set would be longer than {limit}: the middle is left out."


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _question_parts(
    builder: PromptBuilder, record: Record, size: PassageSize, max_tokens: int, to_forget: bool
) -> tuple[list[Record], bool]:
    """Return a question as records of at most `max_tokens` tokens, and whether its prompt was shortened."""
    try:
        is_short = record.prompt_chars is not None or builder.max_tokens(record) <= max_tokens
    except TemplateRefused:
        # `expunge.runs.splits.check_fits` says so, with the place of the record.
        is_short = True
    if is_short:
        return [record], False
    ends = builder.record(replace(record, unfinished=False))
    room = max_tokens - min(len(ends.answer) + END_TOKENS, max_tokens // 2)
    short = _with_short_prompts(builder, record, room)
    prompts = [builder.record(short, prompt=text).prompt for text in (None, short.paraphrased_prompt) if text or text is None]
    left = max(2, max_tokens - max(map(len, prompts)) - builder.unscored - END_TOKENS)
    others = {
        "paraphrased_answer": short.paraphrased_answer and _beginning(builder, short.paraphrased_answer, left),
        "wrong_answers": tuple(_beginning(builder, text, left) for text in short.wrong_answers),
        "alternatives": tuple(_beginning(builder, text, left) for text in short.alternatives),
    }
    short = replace(short, **others)
    spans = token_spans(builder, record.answer)
    if len(spans) <= left:
        return [short], short.turns != record.turns
    first = cut_before(spans, record.answer, left, max(1, left // 2))
    parts = [replace(short, answer=record.answer[: end_of(spans, record.answer, first)], unfinished=True)]
    if to_forget:
        parts += _continuations(short, spans, first, PassageSize(min(size.passage, left), min(size.overlap, left // 2)))
    return parts, short.turns != record.turns


def _continuations(record: Record, spans: Sequence[tuple[int, int]], first: int, size: PassageSize) -> Iterator[Record]:
    """Yield the rest of an answer after its first tokens: in each record the question, the answer's last tokens so far, and the next."""
    text, number = record.answer, 1
    while first < len(spans):
        number += 1
        rest = len(spans) - first
        last = len(spans) if rest <= size.continuation else cut_before(spans, text, first + size.continuation, first + 1)
        start, cut, end = (end_of(spans, text, place) for place in (prompt_start(spans, text, first, size.overlap), first, last))
        given = text[start:cut].lstrip() or text[start:cut]
        yield replace(
            record,
            id=f"{record.id}#{number}",
            answer=given + text[cut:end],
            prompt_chars=len(given),
            unfinished=record.unfinished or last < len(spans),
            **{"paraphrased_prompt": None, "paraphrased_answer": None, "wrong_answers": (), "alternatives": ()},
        )
        first = last


def _beginning(builder: PromptBuilder, text: str, tokens: int) -> str:
    spans = token_spans(builder, text)
    return text if len(spans) <= tokens else text[: end_of(spans, text, cut_before(spans, text, tokens, 1))]


def _with_short_prompts(builder: PromptBuilder, record: Record, room: int) -> Record:
    """Return a record whose prompts have at most `room` tokens, if that can be: without its earliest turns, then without a middle."""
    turns = record.turns
    while len(builder.prompt(turns)) > room and sum(turn.role != "system" for turn in turns) > 2:
        start = int(turns[0].role == "system")
        turns = (*turns[:start], *turns[start + 2 :])
    for place in sorted(range(len(turns)), key=lambda i: -len(turns[i].content)):
        if len(builder.prompt(turns)) > room:
            turns = _with_short_turn(builder, turns, place, room)
    again = record.paraphrased_prompt
    if again and len(builder.prompt((*turns[:-1], Turn("user", again)))) > room:
        again = _with_short_turn(builder, (*turns[:-1], Turn("user", again)), len(turns) - 1, room)[-1].content
    return replace(record, turns=turns, paraphrased_prompt=again)


def _with_short_turn(builder: PromptBuilder, turns: tuple[Turn, ...], place: int, room: int) -> tuple[Turn, ...]:
    """Leave out as much of the middle of a turn as needed; what is left is the shortest possible text if nothing else fits."""
    text = turns[place].content

    def shortened(chars: int) -> tuple[Turn, ...]:
        begin = chars // 2
        content = text[:begin] + ELLIPSIS + text[len(text) - (chars - begin) :]
        return (*turns[:place], Turn(turns[place].role, content), *turns[place + 1 :])

    low, high = 2, min(len(text), CHARS_A_TOKEN * room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(builder.prompt(shortened(middle))) <= room else (low, middle - 1)
    return shortened(low)


def _check_ids(records: Sequence[Record], source: str) -> None:
    seen = set[str]()
    for record in records:
        if record.id in seen:
            raise InputError(f"{source}: two records have the id {quoted(record.id)} after long texts were cut; use other ids")
        seen.add(record.id)
