"""Locust users that send images of any task over either engine's protocols, one image per request.

Run by benchmarks.load as locustfiles/v2.py is. The first answer to each image is compared with the record of the
pipeline without a server, field by field; later ones cost a comparison of bytes as long as they are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import FastHttpUser, User, constant, task

from benchmarks.agreement import compare
from benchmarks.locust_session import session
from benchmarks.task_wire import METHODS, grpc_form, http_form, read_grpc_answer, read_http_answer
from benchmarks.wire import AnswerWrong, http_failure
from handlers.fields import Field

# Before any channel exists: gRPC's own threads would otherwise block gevent's loop.
grpc.experimental.gevent.init_gevent()

#: Bytes of an answer that was found right, by image; shared by all users.
_right: dict[int, bytes] = {}


def check(turn: int, content: bytes, read: Callable[[], Mapping[str, Any]]) -> None:
    """Raises AnswerWrong unless this is the expected answer to the image of this turn."""
    if _right.get(turn) == content:
        return
    plan = session().plan
    fields = [Field(**{**item, "shape": tuple(item["shape"])}) for item in plan["fields"]]
    found = compare(fields, plan["records"][turn], read())
    if found.problems:
        raise AnswerWrong("; ".join(found.problems[:3]))
    _right[turn] = content


class TaskHttpUser(FastHttpUser):  # type: ignore[misc]  # mypy does not follow locust's imports here
    """One kept connection per user."""

    wait_time = constant(0)
    host = "http://the.plan.names.it"

    def on_start(self) -> None:
        """Takes a place among the users."""
        plan = session().plan
        self.protocol, self.turns = plan["protocol"], session().turns()
        self.bodies = session().bodies(lambda images: http_form(plan["protocol"], plan["model"], images[0]))

    @task  # type: ignore[untyped-decorator]  # as above
    def infer(self) -> None:
        """One request; a wrong answer is a failure."""
        turn = next(self.turns)
        path, body, headers = self.bodies[turn]
        url = f"http://{session().plan['address']}{path}"
        with self.client.post(url, data=body, headers=headers, name="http", catch_response=True) as response:
            try:
                if response.status_code != 200:
                    raise AnswerWrong(http_failure(response.status_code, response.content or str(response.error)))
                content, told = response.content, response.headers
                check(turn, content, lambda: read_http_answer(self.protocol, content, told))
            except AnswerWrong as problem:
                response.failure(problem)


class TaskGrpcUser(User):  # type: ignore[misc]  # as above
    """One connection per user, ready-made bytes: nothing is serialised while the clock runs."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Takes a place among the users and opens the connection."""
        plan = session().plan
        self.protocol, self.turns = plan["protocol"], session().turns()
        self.bodies = session().bodies(lambda images: grpc_form(plan["protocol"], plan["model"], images[0]))
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(plan["address"], options=options)
        self.call = self.channel.unary_unary(METHODS[self.protocol])

    def on_stop(self) -> None:
        """Closes the connection."""
        self.channel.close()

    @task  # type: ignore[untyped-decorator]  # as above
    def infer(self) -> None:
        """One request; a wrong answer is a failure."""
        turn, begun = next(self.turns), time.perf_counter()
        answer, failure = b"", None
        try:
            answer = self.call(self.bodies[turn], timeout=session().plan["timeout"])
        except grpc.RpcError as problem:
            failure = AnswerWrong(f"{problem.code().name} {problem.details()}")
        milliseconds = (time.perf_counter() - begun) * 1000
        if failure is None:
            try:
                check(turn, answer, lambda: read_grpc_answer(self.protocol, answer))
            except AnswerWrong as problem:
                failure = problem
        self.environment.events.request.fire(
            request_type="grpc", name="grpc", response_time=milliseconds, response_length=len(answer), exception=failure
        )
