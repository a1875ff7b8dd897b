"""What the fuzzing reads: readers that are called in this process, and files of a run with the verbs that read them."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from expunge.attestation.details import read_request
from expunge.attestation.signature import read_private_key, read_public_key
from expunge.auditing.suite import read_suite
from expunge.config.recipe import read_recipe
from expunge.data.prompt_templates import read_prompt_templates
from expunge.data.questions import read_questions
from expunge.data.records import read_records

RECIPES = Path(__file__).parents[2] / "recipes"
RECORD = b'{"id": "a", "prompt": "Who?", "answer": "Ana.", "wrong_answers": ["Tom.", "Li."], "entity": "Ana", "alternatives": []}'
CHAT = b'{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ana."}]}'
QUESTION = b'{"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 2}'
REQUEST = b"id: R-1\nreceived: 2026-01-02\nlegal_basis: GDPR 17\nreference: case 5\ndeadline: 2026-02-02\n"
SUITE = b"budget_seconds: 60\nmax_records: 4\nattacks:\n- {name: prefill, shares: [0.5]}\n- switch_off\ntolerance: {leak: 0.2}\n"
TEMPLATES = b"wrapped:\n- 'Tell me: {prompt}'\nsystem:\n- {system: 'You are {other1}.', turns: ['{prompt}']}\n"
CSV = b'id,prompt,answer,wrong_answers\n1,"Who, then?",Ana,"[""Tom"", ""Li""]"\n2,Where?,Oslo,\n'


def parquet() -> bytes:
    """Return a Parquet file of two records."""
    sink = pa.BufferOutputStream()
    columns = {"prompt": ["Who?", "Where?"], "answer": ["Ana.", "Oslo."], "wrong_answers": [["Tom."], ["Rome.", "Lima."]]}
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def key() -> tuple[bytes, bytes]:
    """Return PEM files of a private key and of its public key."""
    pair, pem = Ed25519PrivateKey.from_private_bytes(bytes(range(32))), serialization.Encoding.PEM
    private = pair.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, pair.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)


RECORDS = b"\n".join((RECORD, RECORD.replace(b'"a"', b'"b"'))) + b"\n"
READERS: dict[str, tuple[bytes, str, Callable[[Path], Any]]] = {
    "recipe.yaml": ((RECIPES / "grun-npo.yaml").read_bytes(), "yaml", read_recipe),
    "release.yaml": ((RECIPES / "release-people.yaml").read_bytes(), "yaml", read_recipe),
    "suite.yaml": (SUITE, "yaml", lambda path: read_suite(str(path))),
    "templates.yaml": (TEMPLATES, "yaml", read_prompt_templates),
    "request.yaml": (REQUEST, "yaml", read_request),
    "records.jsonl": (RECORDS, "jsonl", read_records),
    "records.json": (RECORDS, "jsonl", read_records),
    "array.json": (b"[" + RECORD + b",\n " + CHAT + b"]\n", "binary", read_records),
    "chats.jsonl": (CHAT + b"\n", "jsonl", read_records),
    "semicolons.csv": (b"sep=;\n" + CSV.replace(b",", b";"), "binary", read_records),
    "records.jsonl.gz": (gzip.compress(RECORDS, mtime=0), "binary", read_records),
    "records.csv.zst": (pa.compress(CSV, "zstd", asbytes=True), "binary", read_records),
    "records.csv": (CSV, "binary", read_records),
    "records.parquet": (parquet(), "binary", read_records),
    "records.txt": (RECORDS, "binary", read_records),
    "notes.md": (b"# Notes\nAna lives in Oslo.\n", "binary", read_records),
    "page.html": (b"<title>Ana</title><p hidden>Tom<div hidden>Li</div><pre>a\n b</pre>Oslo &amp; Rome", "binary", read_records),
    "questions.jsonl": (QUESTION + b"\n", "jsonl", read_questions),
    "private.pem": (key()[0], "binary", read_private_key),
    "public.pem": (key()[1], "binary", read_public_key),
}
"""A file -> its intact content, its form, and what reads it."""

CHAT_WORDS = ("chat", "runs/{kind}", "--ask", "Who?", "--max-new-tokens", "2")
AUDIT, VERIFY, COMPARE = ("audit", "runs/{kind}"), ("verify", "runs/{kind}"), ("compare", "runs/{kind}")
UNDO, PURGE, EXPORT = ("undo", "runs/{kind}", "1"), ("purge", "runs/{kind}", "--yes"), ("export", "runs/{kind}", "--to", "plain")
RESUME, GATE = ("run", "{kind}.yaml", "--no-audit"), ("gate", "runs/{kind}", "Who?")
ALL = (CHAT_WORDS, AUDIT, VERIFY, COMPARE, RESUME, PURGE)
FILES: tuple[tuple[str, str, str, tuple[tuple[str, ...], ...]], ...] = (
    ("grun", "run.json", "json", (*ALL, GATE)),
    ("release", "run.json", "json", (*ALL, UNDO, EXPORT)),
    ("lora", "recipe.yaml", "yaml", (CHAT_WORDS, AUDIT, VERIFY, COMPARE, RESUME)),
    ("release", "rounds/1/round.json", "json", (AUDIT, VERIFY, RESUME, UNDO)),
    ("release", "rounds/1/forget_module/adapter_config.json", "json", (UNDO, VERIFY, RESUME)),
    ("release", "rounds/1/forget_module/adapter_model.safetensors", "binary", (UNDO, VERIFY)),
    ("release", "rounds/1/forget_module/manifest.json", "json", (UNDO, VERIFY, RESUME)),
    ("release", "edit/weights.safetensors", "binary", (CHAT_WORDS, AUDIT, EXPORT)),
    ("release", "neutral.jsonl", "jsonl", (AUDIT, RESUME, VERIFY)),
    ("grun", "audit.json", "json", (COMPARE, VERIFY, ("audit", "runs/{kind}", "--gate"))),
    ("grun", "audit.parquet", "binary", (COMPARE, VERIFY, ("audit", "runs/{kind}", "--gate"))),
    ("grun", "attestation.json", "json", (VERIFY, AUDIT)),
    ("release", "attestation.json", "json", (VERIFY,)),
    ("grun", "metrics.jsonl", "jsonl", (AUDIT, VERIFY, RESUME)),
    ("grun", "key", "binary", (AUDIT, VERIFY)),
    ("grun", "edit/manifest.json", "json", (CHAT_WORDS, AUDIT, VERIFY)),
    ("lora", "edit/base.json", "json", (CHAT_WORDS, AUDIT, EXPORT)),
    *((kind, "edit/adapter_config.json", "json", (CHAT_WORDS, AUDIT, VERIFY)) for kind in ("grun", "reft", "lora")),
    *((kind, "edit/adapter_model.safetensors", "binary", (CHAT_WORDS, AUDIT)) for kind in ("grun", "reft", "lora")),
    *(("lora", f"../../model/{name}", form, (CHAT_WORDS, AUDIT, RESUME)) for name, form in (
        ("config.json", "json"), ("generation_config.json", "json"), ("tokenizer.json", "json"), ("tokenizer_config.json", "json"),
        ("chat_template.jinja", "binary"), ("model.safetensors", "binary"),
    )),
    *(("lora", f"../../{name}.jsonl", "jsonl", (AUDIT, VERIFY, RESUME)) for name in ("forget", "retain")),
    ("lora", "../../cache/expunge/measured/*", "binary", (AUDIT,)),
)  # fmt: skip
"""(kind of run, file in its folder, its form, verbs that read it); `*` is the first file of a folder."""
