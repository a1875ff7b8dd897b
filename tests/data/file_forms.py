"""The forms of files that people have, with the same two records in each: the table of `test_file_forms.py` and of the documentation."""

import gzip
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pyarrow
from pyarrow import parquet

RESULT = {"role": "tool", "content": "Ada."}
QUESTIONS, ANSWERS = ("Wer ist Ada?", "Was malt Bo, „der Große“?"), ("Ada ist Malerin.", "Bo malt; meist Boote | Häuser.")
PAIRS = list(zip(QUESTIONS, ANSWERS, strict=True))


ICONV = "`iconv -f {} -t UTF-8`"


@dataclass(frozen=True)
class Form:
    """A form of file.

    Attributes:
        name: the name of the file.
        content: what is in it.
        is_text: its records are the answers as plain texts.
        flags: the options that the error about the file suggests, and with which it is read.
        refusal: a regular expression for the one sentence with which it is refused.
        remark: a part of what is printed while it is read.
    """

    name: str
    content: bytes
    is_text: bool = False
    flags: str = ""
    refusal: str = ""
    remark: str = ""


def rows(make: Callable[[str, str], dict]) -> list[dict]:
    """Return a row of each record."""
    return [make(question, answer) for question, answer in PAIRS]


def lines(make: Callable[[str, str], dict]) -> bytes:
    """Return JSON Lines of the records."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(make)).encode()


def table(separator: str, header: str = "prompt,answer", end: str = "") -> str:
    """Return the records as CSV in which every cell that needs it is in quotes."""
    quoted = [[f'"{cell}"' if re.search(r"[,;|\t]", cell) else cell for cell in pair] for pair in PAIRS]
    return "".join(separator.join(cells) + end + "\n" for cells in [header.split(","), *quoted])


def pair(question: str, answer: str) -> dict:
    return {"prompt": question, "answer": answer}


def chat(*earlier: dict) -> Callable[[str, str], dict]:
    """Return a maker of OpenAI messages with these ones first."""
    return lambda question, answer: {
        "messages": [*earlier, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    }


def parts(question: str, answer: str) -> dict:
    return {
        "messages": [
            {"role": role, "content": [{"type": "text", "text": text[:5]}, {"type": "text", "text": text[5:]}]}
            for role, text in (("user", question), ("assistant", answer))
        ]
    }


def tool(question: str, answer: str) -> dict:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look_up"}}]}
    return {
        "messages": [
            {"role": "user", "content": question},
            call,
            {"role": "tool", "content": "…"},
            {"role": "assistant", "content": answer},
        ]
    }


def alpaca(question: str, answer: str) -> dict:
    instruction, _, rest = question.partition("\n")
    return {"instruction": instruction, "input": rest, "output": answer}


def parquet_bytes() -> bytes:
    """Return the records as Parquet."""
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows(pair)), sink)
    return sink.getvalue().to_pybytes()


LINES, ARRAY = lines(pair), json.dumps(rows(pair), ensure_ascii=False, indent=2).encode()
FORMS = {
    "JSON Lines": Form("f.jsonl", LINES),
    "JSON Lines, gzip": Form("f.jsonl.gz", gzip.compress(LINES)),
    "JSON Lines, zstd": Form("f.jsonl.zst", pyarrow.compress(LINES, "zstd", asbytes=True)),
    "JSON array over several lines": Form("f.json", ARRAY),
    "JSON array on one line, gzip": Form("f.json.gz", gzip.compress(json.dumps(rows(pair)).encode())),
    "JSON objects over several lines": Form("f.json", "\n".join(json.dumps(row, indent=2) for row in rows(pair)).encode()),
    "CSV": Form("f.csv", table(",").encode()),
    "CSV with tabs": Form("f.tsv", table("\t").encode()),
    "CSV with semicolons": Form("f.csv", table(";").encode(), remark="the columns are separated by semicolons"),
    "CSV with pipes": Form("f.csv", table("|").encode(), remark="the columns are separated by pipes"),
    "CSV with a sep= line": Form("f.csv", f"sep=;\n{table(';')}".encode(), remark="the columns are separated by semicolons"),
    "CSV with empty columns at the end": Form("f.csv", table(",", end=",,").encode()),
    "UTF-8 with a byte order mark": Form("f.csv", b"\xef\xbb\xbf" + table(",").encode()),
    "Parquet": Form("f.parquet", parquet_bytes()),
    "question and answer": Form("f.jsonl", lines(lambda question, answer: {"question": question, "answer": answer})),
    "prompt and completion": Form("f.jsonl", lines(lambda question, answer: {"prompt": question, "completion": answer})),
    "input and output": Form(
        "f.jsonl",
        lines(lambda question, answer: {"input": question, "output": answer}),
        flags="--map prompt=input --map answer=output",
    ),
    "texts": Form("f.jsonl", lines(lambda question, answer: {"text": answer}), is_text=True),
    "OpenAI messages": Form("f.jsonl", lines(chat())),
    "OpenAI messages of text parts": Form("f.jsonl", lines(parts)),
    "OpenAI messages with a tool call": Form(
        "f.jsonl", lines(tool), refusal=r'field "messages\[1\].tool_calls" is a tool call, which cannot be trained on; take it out of .*'
    ),
    "messages whose roles do not alternate": Form(
        "f.jsonl",
        lines(chat({"role": "user", "content": "Hallo."})),
        refusal=r'field "messages\[1\]" is a second user message in a row; user and assistant must alternate, so join the two .*',
    ),
    "ShareGPT": Form(
        "f.json",
        json.dumps(rows(lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]})).encode(),
    ),
    "Alpaca": Form("f.json", json.dumps(rows(alpaca)).encode()),
    "ids that repeat": Form(
        "f.jsonl",
        lines(lambda question, answer: {"id": 7, **pair(question, answer)}),
        refusal=r'id "7" is taken by line 1; make the ids unique, or ignore them with --no-ids \(.*\)',
    ),
    "UTF-16": Form("f.csv", table("\t").encode("utf-16"), refusal=rf"the file is UTF-16; save it as UTF-8, or .*{ICONV.format('UTF-16')}"),
    "Windows-1252": Form(
        "f.csv",
        table(";").encode("cp1252"),
        refusal=rf"bad UTF-8 at byte 15 of the line; save the file as UTF-8 \(if it is .*{ICONV.format('WINDOWS-1252')} .*",
        remark="the columns are separated by semicolons",
    ),
}


def options(error: str) -> dict[str, str]:
    """Return field -> column of the `--map` options that an error suggests."""
    words = shlex.split(error[error.index("--map") :].partition(" (or ")[0])
    return dict(word.split("=", 1) for option, word in pairwise(words) if option == "--map")
