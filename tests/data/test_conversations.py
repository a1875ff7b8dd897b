"""Messages that are read, and kinds of messages that cannot be trained on."""

import pytest

from expunge.data.conversations import messages
from expunge.errors import InputError


def parts(*content: object) -> dict:
    return {"role": "user", "content": list(content)}


ANSWER = {"role": "assistant", "content": "a"}
USER = {"role": "user", "content": "p"}
GREETING, CALL = {"role": "assistant", "content": "Hi"}, {"role": "assistant", "content": "", "function_call": {"name": "f"}}
SHAREGPT = [{"from": "system", "value": "s"}, {"from": "human", "value": "p"}, {"from": "gpt", "value": "a"}]
READ = {
    "text parts": ([parts({"type": "text", "text": "p"}, {"type": "text", "text": "q"}), ANSWER], [("user", "pq"), ("assistant", "a")]),
    "developer": ([{"role": "developer", "content": "s"}, USER, ANSWER], [("system", "s"), ("user", "p"), ("assistant", "a")]),
    "ShareGPT": (SHAREGPT, [("system", "s"), ("user", "p"), ("assistant", "a")]),
    "a greeting first": ([GREETING, USER, ANSWER], [("assistant", "Hi"), ("user", "p"), ("assistant", "a")]),
    "no tool calls": ([USER, {**ANSWER, "tool_calls": [], "function_call": None}], [("user", "p"), ("assistant", "a")]),
}
REFUSED = {
    "an image": (
        [parts({"type": "image_url", "image_url": {}}), ANSWER],
        'field "m[0].content[0]" is a part of type "image_url"; only text can be trained on, so take it out of the conversation, or leave ',
    ),
    "a part that is a text": ([parts("p"), ANSWER], 'field "m[0].content[0]" is text, not a part with type and text'),
    "a part without a text": ([parts({"type": "text"}), ANSWER], 'field "m[0].content[0].text" is empty (null); '),
    "no part": ([parts(), ANSWER], 'field "m[0].content" is empty; '),
    "a tool's answer": (
        [USER, {"role": "tool", "content": "t"}, ANSWER],
        'field "m[1]" is a message of a tool, which cannot be trained on; take it out of the conversation, or leave the record out',
    ),
    "an observation": ([SHAREGPT[1], {"from": "observation", "value": "o"}], 'field "m[1]" is a message of a tool, '),
    "a call of a function": ([USER, CALL], 'field "m[1].function_call" is a tool call, which cannot be trained on; '),
    "two answers": (
        [USER, ANSWER, ANSWER, USER, ANSWER],
        'field "m[2]" is a second assistant message in a row; user and assistant must alternate, so join the two into one message',
    ),
    "a late developer": (
        [USER, ANSWER, {"role": "developer", "content": "s"}, USER, ANSWER],
        'field "m[2]" is a system message; only the first may be one',
    ),
    "a speaker of the other form": ([{"role": "human", "content": "p"}, ANSWER], 'field "m[0].role" is none of system, user, assistant'),
    "an unknown speaker": ([{"from": "narrator", "value": "p"}], 'field "m[0].from" is none of system, human, user, gpt, assistant'),
    "no value": ([{"from": "human", "content": "p"}], 'field "m[0].value" is missing'),
    "no role": ([{"content": "p"}], 'field "m[0].role" is missing'),
    "an answer to nothing": ([SHAREGPT[2]], 'field "m" must end with a user message and the assistant\'s answer to it'),
    "a role that is a list": ([{"role": ["user"], "content": "p"}], 'field "m[0].role" is a list, not text'),
}


@pytest.mark.parametrize("name", READ)
def test_a_conversation_is_read(name):
    given, expected = READ[name]
    assert messages("f:1", "m", given) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_on_is_named(name):
    given, message = REFUSED[name]
    with pytest.raises(InputError) as caught:
        messages("f:1", "m", given)
    assert str(caught.value).startswith(f"f:1: {message}")
