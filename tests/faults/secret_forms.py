"""Find secret texts in files and output: as they are, in other encodings, as hashes without a key, and as token ids."""

import base64
import gzip
import hashlib
import html
import json
import urllib.parse
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

FEWEST_TOKENS = 5


def forms(secret: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    """Return {name of the form: bytes} of a secret; all in lower case, as `searched` is."""
    text = secret.encode()
    found = {
        "text": text,
        "UTF-16": secret.encode("utf-16-le"),
        "UTF-32": secret.encode("utf-32-le"),
        "JSON": json.dumps(secret)[1:-1].encode(),
        "HTML": html.escape(secret).encode(),
        "URL": urllib.parse.quote(secret).encode(),
        "hex": text.hex().encode(),
        "reversed": text[::-1],
        "repr": repr(secret)[1:-1].encode(),
        **{f"hash {name}": hashlib.new(name, text).hexdigest().encode() for name in ("md5", "sha1", "sha256")},
    }
    for shift in range(3):
        # Only whole groups of three bytes look the same whatever comes before and after.
        whole = text[shift:]
        found[f"base64 {shift}"] = base64.b64encode(whole[: len(whole) // 3 * 3])
    ids = tokenizer(secret, add_special_tokens=False)["input_ids"]
    if len(ids) >= FEWEST_TOKENS:
        found |= {"tokens": ", ".join(map(str, ids)).encode(), "tokens without spaces": ",".join(map(str, ids)).encode()}
        found["tokens as integers"] = b"".join(int(token).to_bytes(8, "little") for token in ids)
    return {name: form.lower() for name, form in found.items() if form}


def searched(path: Path) -> bytes:
    """Return all that can be read in a file, in lower case; Parquet and gzip unpacked."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        content += json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False).encode()
    if content[:2] == b"\x1f\x8b":
        content += gzip.decompress(content)
    if content[:1] == b"\x78":
        with suppress(zlib.error):
            content += zlib.decompress(content)
    return content.lower()


def occurrences(secrets: Iterable[str], places: Mapping[str, bytes], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return a line for each secret, form and place where it was found.

    Args:
        secrets: texts that must not be there.
        places: name -> bytes as `searched` returns them; the names are searched too.
        tokenizer: of the model that saw the secrets.
    """
    found = []
    for secret in secrets:
        for form, content in forms(secret, tokenizer).items():
            found += [
                f"{secret!r} as {form} in {name}" for name, read in places.items() if content in read or content in name.lower().encode()
            ]
    return found
