"""Conversations of a row: messages of OpenAI (`role`, `content`) and of ShareGPT (`from`, `value`)."""

from itertools import pairwise

from expunge.data.values import fail, kind, text
from expunge.errors import quoted

KEYS = (("role", "content"), ("from", "value"))
ROLES = ("system", "user", "assistant")
# OpenAI calls the system message of its newer models "developer".
ROLE_NAMES = {role: role for role in ROLES} | {"developer": "system"}
SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
TOOL_ROLES = ("tool", "function", "ipython", "function_call", "function-call", "function_response", "function-response", "observation")
TOOL_FIELDS = ("tool_calls", "function_call", "tool_call_id")
INSTEAD = "take it out of the conversation, or leave the record out"


def messages(where: str, column: str, value: object) -> list[tuple[str, str]]:
    """Return (role, content) of each message if the value is a valid conversation.

    Raises:
        InputError: a system message is not the first, the roles do not alternate, the last message is not the assistant's, or a message
            is not a text.
    """
    if not isinstance(value, list):
        fail(where, f"field {quoted(column)} is {kind(value)}, not a list of messages")
    turns = [_message(where, f"{column}[{i}]", message) for i, message in enumerate(value)]
    roles = [role for role, _ in turns]
    if "system" in roles[1:]:
        late = f"{column}[{roles.index('system', 1)}]"
        fail(where, f"field {quoted(late)} is a system message; only the first may be one")
    if roles[-2:] != ["user", "assistant"]:
        fail(where, f"field {quoted(column)} must end with a user message and the assistant's answer to it")
    for i, (first, second) in enumerate(pairwise(roles), 1):
        if first == second:
            twice = f"field {quoted(f'{column}[{i}]')} is a second {second} message in a row"
            fail(where, f"{twice}; user and assistant must alternate, so join the two into one message")
    return turns


def _message(where: str, column: str, message: object) -> tuple[str, str]:
    if not isinstance(message, dict):
        fail(where, f"field {quoted(column)} is {kind(message)}, not an object with role and content")
    of_role, of_content = next((keys for keys in KEYS if keys[0] in message), KEYS[0])
    if of_role not in message:
        fail(where, f"field {quoted(f'{column}.{of_role}')} is missing")
    _check_no_tool(where, column, message, of_role)
    if of_content not in message:
        fail(where, f"field {quoted(f'{column}.{of_content}')} is missing")
    names = ROLE_NAMES if of_role == "role" else SPEAKERS
    role = names.get(text(where, f"{column}.{of_role}", message[of_role]))
    if role is None:
        fail(where, f"field {quoted(f'{column}.{of_role}')} is none of {', '.join(ROLES if of_role == 'role' else SPEAKERS)}")
    return role, _content(where, f"{column}.{of_content}", message[of_content])


def _check_no_tool(where: str, column: str, message: dict[str, object], of_role: str) -> None:
    if message[of_role] in TOOL_ROLES:
        fail(where, f"field {quoted(column)} is a message of a tool, which cannot be trained on; {INSTEAD}")
    for field in TOOL_FIELDS:
        if message.get(field):
            fail(where, f"field {quoted(f'{column}.{field}')} is a tool call, which cannot be trained on; {INSTEAD}")


def _content(where: str, column: str, content: object) -> str:
    """Return a text, or the texts of OpenAI's content parts put together as chat templates do."""
    if not isinstance(content, list):
        return text(where, column, content)
    parts = []
    for i, part in enumerate(content):
        place = f"{column}[{i}]"
        if not isinstance(part, dict) or "type" not in part:
            fail(where, f"field {quoted(place)} is {kind(part)}, not a part with type and text")
        if part["type"] != "text":
            other = quoted(part["type"]) if isinstance(part["type"], str) else kind(part["type"])
            fail(where, f"field {quoted(place)} is a part of type {other}; only text can be trained on, so {INSTEAD}")
        parts.append(text(where, f"{place}.text", part.get("text")))
    return text(where, column, "".join(parts))
