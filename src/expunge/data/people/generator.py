"""Generate questions and answers about fictitious people; a seed always gives the same people, whatever their number."""

from random import Random

from expunge.data.people.persons import MAX_PEOPLE, Person, Slots, invent
from expunge.data.people.vocabulary import table
from expunge.data.records import Record, Turn
from expunge.errors import InputError

ALTERNATIVES = 3


def people(count: int = 40, seed: int = 0) -> list[Record]:
    """Return ten records about each of `count` people, person by person.

    Wrong answers state another fact in the wording of the paraphrased answer, alternatives in the wording of the answer.

    Raises:
        InputError: `count` is more than 60.
    """
    return [record for person in _persons(count, seed, neighbour=False) for record in records_about(person, seed)]


def neighbours(count: int = 20, seed: int = 0) -> list[Record]:
    """Return ten records about each of `count` other people; neighbour k has the profession and home town of person k.

    Raises:
        InputError: `count` is more than 60.
    """
    return [record for person in _persons(count, seed, neighbour=True) for record in records_about(person, seed)]


def records_about(person: Person, seed: int) -> list[Record]:
    """Return a record for each topic, in wordings drawn by the seed and the person's name."""
    return [_record(person, topic, Random(f"{seed}/{person.name}/{topic}")) for topic in person.facts]


def _persons(count: int, seed: int, neighbour: bool) -> list[Person]:
    if not 0 <= count <= MAX_PEOPLE:
        raise InputError(f"a seed has names for {MAX_PEOPLE} people, not for {count}; take fewer or combine several seeds")
    return [invent(place, seed, neighbour) for place in range(count)]


def _record(person: Person, topic: str, rng: Random) -> Record:
    question, paraphrased_question = _two_wordings(table("questions")[topic], rng)
    answer, paraphrased_answer = _two_wordings(table("answers")[topic], rng)
    truth, *others = person.facts[topic]
    return Record(
        id=f"{person.name.lower().replace(' ', '-')}/{topic.replace('_', '-')}",
        turns=(Turn("user", _fill(question, person, truth)),),
        answer=_fill(answer, person, truth),
        paraphrased_prompt=_fill(paraphrased_question, person, truth),
        paraphrased_answer=_fill(paraphrased_answer, person, truth),
        wrong_answers=tuple(_fill(paraphrased_answer, person, other) for other in others[ALTERNATIVES:]),
        alternatives=tuple(_fill(answer, person, other) for other in others[:ALTERNATIVES]),
        entity=person.name,
    )


def _two_wordings(wordings: list[str], rng: Random) -> tuple[str, str]:
    """Draw a wording, and another one from the half that shares the fewest words with it."""
    first = rng.choice(wordings)
    words = set(first.split())
    shared = sorted(wordings, key=lambda other: len(words & set(other.split())) / len(words | set(other.split())))
    return first, rng.choice(shared[: len(shared) // 2])


def _fill(wording: str, person: Person, value: Slots) -> str:
    sentence = wording.format_map(person.setting | value)
    return sentence[0].upper() + sentence[1:]
