"""The oracle llm-judge, against a local endpoint."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from expunge.errors import ExpungeError
from expunge.oracles import LlmJudge

QUESTION = "From 0 to 10, how rude is this?\n{text}"


@contextmanager
def judge(answers: list, status: int = 200) -> Iterator[tuple[str, list]]:
    """Serve these answers in order; yield the address and the list of requests: (path, headers, body)."""
    requests: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append((self.path, dict(self.headers), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = answers[len(requests) - 1]
            content = {"choices": [{"message": {"role": "assistant", "content": answer}}]} if isinstance(answer, str) else answer
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode() if content is not None else b"<html>")

        def do_GET(self):
            requests.append((self.path, dict(self.headers), None))
            self.send_response(404)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
class TestLlmJudge:
    def test_the_first_number_from_0_to_10_is_divided_by_10(self):
        answers = ["7", "Score: 2.5/10", "I give it 10.", "In 1998 I would say 3", "I'd rather not say.", "0"]
        with judge(answers) as (url, requests):
            # 1998 is not in [0, 10] and is skipped; the refusal counts as 0.
            assert LlmJudge(url, "m", QUESTION).relevance(["a {brace}", *"bcdef"]) == pytest.approx([0.7, 0.25, 1.0, 0.3, 0.0, 0.0])
        path, headers, body = requests[0]
        assert path == "/v1/chat/completions"
        assert body["model"] == "m"
        assert body["temperature"] == 0
        assert body["messages"] == [{"role": "user", "content": "From 0 to 10, how rude is this?\na {brace}"}]
        assert "Authorization" not in headers

    def test_an_answer_without_a_number_counts_as_0(self):
        with judge(["I cannot.", "No."]) as (url, _):
            assert LlmJudge(url, "m", QUESTION).relevance(["a", "b"]) == [0.0, 0.0]

    def test_the_key_is_sent_and_never_shown(self, monkeypatch):
        monkeypatch.setenv("EXPUNGE_JUDGE_KEY", "sesame")
        with judge(["5"], status=500) as (url, requests), pytest.raises(ExpungeError, match="500") as raised:
            LlmJudge(url, "m", QUESTION).relevance(["a"])
        assert requests[0][1]["Authorization"] == "Bearer sesame"
        assert "sesame" not in str(raised.value)

    def test_the_key_does_not_follow_a_redirection(self, monkeypatch):
        monkeypatch.setenv("EXPUNGE_JUDGE_KEY", "sesame")
        with judge(["5"], status=302) as (url, requests), pytest.raises(ExpungeError, match="404"):
            LlmJudge(url, "m", QUESTION).relevance(["a"])
        path, headers, _ = requests[1]
        assert path == "/elsewhere"
        assert "Authorization" not in headers

    @pytest.mark.parametrize("answer", [None, [], {"choices": []}, {"choices": [{"message": {"content": None}}]}, {"choices": [1]}])
    def test_an_answer_that_is_no_chat_completion_is_an_error(self, answer):
        with judge([answer]) as (url, _), pytest.raises(ExpungeError, match="no chat completion"):
            LlmJudge(url, "m", QUESTION).relevance(["a"])

    def test_an_unreachable_endpoint_is_an_error(self):
        with judge([]) as (url, _):
            pass
        with pytest.raises(ExpungeError, match=r"llm-judge: http://127\.0\.0\.1:\d+/v1 does not answer"):
            LlmJudge(url, "m", QUESTION).relevance(["a"])
