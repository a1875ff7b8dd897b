"""Evasions: ask a question so that a gate may not recognise it, by a part of the name, in a strange spelling, or in several turns."""

from expunge.data.evasions.forms import FORMS, KINDS, PARTIAL_NAMES, TRAINED, Form, Kind, evade, rename, shorten
from expunge.data.evasions.full_names import FullName, replace_name
from expunge.data.evasions.subjects import Subject, subjects

__all__ = [
    "FORMS",
    "KINDS",
    "PARTIAL_NAMES",
    "TRAINED",
    "Form",
    "FullName",
    "Kind",
    "Subject",
    "evade",
    "rename",
    "replace_name",
    "shorten",
    "subjects",
]
