"""Fictitious persons: draw a name, true facts and false alternatives for each fact."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any

from expunge.data.people.vocabulary import deal, table

# Ten regions have twelve first and last names each: half of them for people, half for their neighbours.
NAMES_PER_REGION = 6
MAX_PEOPLE = 10 * NAMES_PER_REGION
VALUES_PER_FACT = 9
FIXED_TOPICS = ("profession", "birthplace", "birthdate", "family", "education", "work", "home")
OPTIONAL_TOPICS = ("award", "hobby", "pet", "instrument", "language", "turning_point")
OPTIONAL_TOPICS_EACH = 3

# Not from `calendar`, whose names depend on the machine's locale.
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PRONOUNS = {"she": {"subj": "she", "poss": "her", "obj": "her"}, "he": {"subj": "he", "poss": "his", "obj": "him"}}

Slots = dict[str, str]


@dataclass(frozen=True)
class Person:
    """A fictitious person.

    Attributes:
        name: first and last name, unique among all people and neighbours of a seed.
        born: date of birth.
        setting: words that sentences use besides the fact itself (pronouns, years, subjects).
        facts: topic -> nine different values of the same kind, for ten topics; the first value is true, the others are false.
    """

    name: str
    born: date
    setting: Slots
    facts: dict[str, list[Slots]]


def invent(place: int, seed: int, neighbour: bool = False) -> Person:
    """Return the person at a place (0 to 59) of a seed, or the neighbour of this person: another one of the same profession and town."""
    rng = Random(f"{seed}/{'neighbour' if neighbour else 'person'}/{place}")
    region, region_round = deal(table("regions"), place, f"{seed}/region")
    profession, profession_round = deal(table("professions"), place, f"{seed}/profession")
    first, last, pronouns = _name(region, region_round + NAMES_PER_REGION * neighbour, seed)
    born = date(rng.randint(1950, 1990), 1, 1) + timedelta(days=rng.randrange(365))
    setting = {"name": f"{first} {last}"} | PRONOUNS[pronouns] | _setting(profession, profession_round, born.year, rng)

    homes = _homes(region, table("everyday")["streets"], Random(f"{seed}/home/{place}"), neighbour)
    facts = {
        "profession": _professions(profession, profession_round + 2 * neighbour, rng),
        "birthplace": _birthplaces(region, homes[0]["home"], rng),
        "birthdate": _birthdates(born, rng),
        "work": _titles(profession, profession_round + 3 * neighbour, seed, rng),
        "home": homes,
        **_everyday(region, profession, rng),
    }
    topics = {*FIXED_TOPICS, *rng.sample(OPTIONAL_TOPICS, OPTIONAL_TOPICS_EACH)}
    return Person(setting["name"], born, setting, {topic: values for topic, values in facts.items() if topic in topics})


def _name(region: dict[str, Any], place: int, seed: int) -> tuple[str, str, str]:
    key = f"{seed}/{region['last'][0]}"
    firsts = [(first, pronouns) for pronouns in PRONOUNS for first in region[pronouns]]
    (first, pronouns), _ = deal(firsts, place, f"{key}/first")
    last, _ = deal(region["last"], place, f"{key}/last")
    return first, last, pronouns


def _setting(profession: dict[str, Any], profession_round: int, birth_year: int, rng: Random) -> Slots:
    details, work = table("everyday"), profession["work"]
    return {
        **rng.choice(details["relations"]),
        "birth_detail": rng.choice(details["birth_details"]),
        "home_detail": rng.choice(details["home_details"]),
        "learned": rng.choice(details["learned"]),
        "played": rng.choice(details["played"]),
        "subject": rng.choice(profession["subjects"]),
        "praised": rng.choice(profession["praised"]),
        "calling": profession["calling"],
        "work_noun": work["noun"],
        "work_kind": work["kinds"][profession_round % len(work["kinds"])],
        "made": work["made"],
        "made_by": work["made_by"],
        "turn_age": str(rng.randint(9, 17)),
        "graduated": str(birth_year + rng.randint(22, 25)),
        "made_year": str(rng.randint(birth_year + 28, 2023)),
        "award_year": str(rng.randint(birth_year + 28, 2023)),
    }


def _professions(profession: dict[str, Any], workplace: int, rng: Random) -> list[Slots]:
    others = rng.sample([other for other in table("professions") if other is not profession], VALUES_PER_FACT - 1)
    places = [profession["places"][workplace % len(profession["places"])], *(rng.choice(other["places"]) for other in others)]
    return [
        {"job": each["job"], "place": place, "does": rng.choice(each["does"])}
        for each, place in zip([profession, *others], places, strict=True)
    ]


def _towns(region: dict[str, Any]) -> list[tuple[str, str]]:
    return [(town, country) for country, towns in region["towns"].items() for town in towns]


def _birthplaces(region: dict[str, Any], home: str, rng: Random) -> list[Slots]:
    towns = rng.sample([(town, country) for town, country in _towns(region) if town != home], VALUES_PER_FACT)
    return [{"town": town, "country": country} for town, country in towns]


def _homes(region: dict[str, Any], streets: Sequence[str], rng: Random, neighbour: bool) -> list[Slots]:
    """Draw streets and towns; the neighbour gets the same towns and, from the same shuffled streets, other ones."""
    towns = rng.sample([town for town, _ in _towns(region)], VALUES_PER_FACT)
    shuffled = rng.sample(streets, 2 * VALUES_PER_FACT)
    drawn = shuffled[VALUES_PER_FACT:] if neighbour else shuffled[:VALUES_PER_FACT]
    return [{"street": street, "home": town} for street, town in zip(drawn, towns, strict=True)]


def _birthdates(born: date, rng: Random) -> list[Slots]:
    years = rng.sample([year for year in range(born.year - 12, born.year + 13) if year != born.year], VALUES_PER_FACT - 1)
    days = [born, *(date(year, 1, 1) + timedelta(days=rng.randrange(365)) for year in years)]
    return [
        {
            "day_month": f"{day.day} {MONTHS[day.month - 1]}",
            "month_day": f"{MONTHS[day.month - 1]} {day.day}",
            "year": str(day.year),
            "weekday": WEEKDAYS[day.weekday()],
        }
        for day in days
    ]


def _titles(profession: dict[str, Any], place: int, seed: int, rng: Random) -> list[Slots]:
    """Draw titles of works; they are dealt within the profession, so that no two people of a seed share a work."""
    true, _ = deal(profession["work"]["titles"], place, f"{seed}/{profession['calling']}")
    others = rng.sample([title for title in profession["work"]["titles"] if title != true], VALUES_PER_FACT - 1)
    return [{"title": title} for title in (true, *others)]


def _everyday(region: dict[str, Any], profession: dict[str, Any], rng: Random) -> dict[str, list[Slots]]:
    details, field = table("everyday"), table("fields")[profession["field"]]
    pools = {
        "family": ("family_job", details["family_jobs"]),
        "education": ("school", field["schools"]),
        "award": ("award", field["awards"]),
        "hobby": ("hobby", details["hobbies"]),
        "instrument": ("instrument", details["instruments"]),
        "language": ("language", [language for language in details["languages"] if language not in region["native"]]),
        "turning_point": ("event", details["events"]),
    }
    facts = {topic: [{slot: value} for value in rng.sample(pool, VALUES_PER_FACT)] for topic, (slot, pool) in pools.items()}
    pets = zip(rng.sample(details["pet_kinds"], VALUES_PER_FACT), rng.sample(details["pet_names"], VALUES_PER_FACT), strict=True)
    return facts | {"pet": [{"pet_kind": kind, "pet_name": name} for kind, name in pets]}
