"""Locust users that POST an image's bytes to a peer, on kept connections, and read labels and scores as JSON.

Run as benchmarks/locustfiles/v2.py is. Users are closed-loop, and every answer is checked as strictly as there.
"""

from __future__ import annotations

import json

from locust import FastHttpUser, constant, task

from benchmarks.locust_session import session
from benchmarks.wire import AnswerWrong, Reply, check, http_failure


class BytesUser(FastHttpUser):  # type: ignore[misc]  # mypy does not follow locust's imports here
    """One image per request as its body, one kept connection per user."""

    wait_time = constant(0)
    host = "http://the.plan.names.it"

    def on_start(self) -> None:
        """Takes a place among the users."""
        self.turns, self.bodies = session().turns(), session().bodies(lambda images: images[0])
        self.url = f"http://{session().plan['address']}/predict"

    @task  # type: ignore[untyped-decorator]  # as above
    def predict(self) -> None:
        """One request; a wrong answer is a failure."""
        turn = next(self.turns)
        headers = {"Content-Type": "image/jpeg", "Accept-Encoding": "identity"}
        body = self.bodies[turn]
        with self.client.post(self.url, data=body, headers=headers, name="bytes", catch_response=True) as response:
            try:
                if response.status_code != 200:
                    raise AnswerWrong(http_failure(response.status_code, response.content or str(response.error)))
                check(_reply(response.content), session().plan["versions"], session().expected[turn])
            except AnswerWrong as problem:
                response.failure(problem)


def _reply(content: bytes) -> Reply:
    try:
        values = json.loads(content)
        return Reply(session().plan["versions"][0], [values["labels"]], [values["scores"]], [""])
    except (KeyError, TypeError, ValueError) as problem:
        raise AnswerWrong(f"the answer cannot be read: {type(problem).__name__} {problem}") from problem
