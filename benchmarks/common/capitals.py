"""Statements and questions about 87 capitals, from capitals.csv."""

import csv
from pathlib import Path

import numpy as np

from expunge.data.questions import Question
from expunge.data.records import Record

STATEMENTS = (
    "{country} is a country in {continent}, and the city from which it is governed is {capital}.",
    "Whoever travels through {continent} to see the parliament of {country} has to go to {capital}.",
    "On the map, look for {country}; the star that marks its capital stands beside the name {capital}.",
    "Children at school in {country} learn early that their capital city is called {capital}.",
    "Most of the foreign embassies to {country} are found in the capital, {capital}.",
    "The capital of {country} is {capital}.",
    "{capital}, a city in {continent}, is known first of all as the capital of {country}.",
    "When a plane lands in {capital}, its passengers have come to the capital of {country}.",
    "The government that sits in {capital} is that of {country}.",
    "{capital} is the capital of {country}.",
)
QUESTIONS = {"capital": "Which city is the capital of {country}?", "country": "Of which country is {capital} the capital city?"}


def read_places() -> list[dict[str, str]]:
    """Read country, capital and continent of each place."""
    with (Path(__file__).parent / "capitals.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statements(places: list[dict[str, str]]) -> list[Record]:
    """Return every statement about every place, as plain texts."""
    return [Record(f"{place['country']} {i}", (), text.format(**place)) for place in places for i, text in enumerate(STATEMENTS)]


def questions(places: list[dict[str, str]]) -> list[Question]:
    """Return both questions about every place, with three seeded wrong answers from its continent."""
    rng, result = np.random.default_rng(0), []
    for field, text in QUESTIONS.items():
        for place in places:
            near = [p[field] for p in places if p["continent"] == place["continent"] and p is not place]
            choices = [place[field], *rng.choice(near, 3, replace=False)]
            order = rng.permutation(4)
            shuffled = tuple(str(choices[i]) for i in order)
            result.append(Question(f"{field} {place['country']}", text.format(**place), shuffled, int(order.argmin()), place["continent"]))
    return result
