"""Locust users that send images over KServe V2: HTTP with binary tensors, and gRPC, both on kept connections.

Run by benchmarks.load as `python -m locust -f THIS --plan PLAN.json --headless USER_CLASS`. Users are closed-loop: each
sends its next request when it has read and checked the answer to the one before.
"""

from __future__ import annotations

import time

import grpc
import grpc.experimental.gevent
from locust import FastHttpUser, User, constant, task

from benchmarks.locust_session import session
from benchmarks.wire import (
    GRPC_METHOD,
    JSON_LENGTH,
    AnswerWrong,
    check,
    grpc_request,
    http_failure,
    http_path,
    http_request,
    read_grpc,
    read_http,
)

# Before any channel exists: gRPC's own threads would otherwise block gevent's loop.
grpc.experimental.gevent.init_gevent()


class HttpV2User(FastHttpUser):  # type: ignore[misc]  # mypy does not follow locust's imports here
    """V2 HTTP, binary tensors both ways, one kept connection per user."""

    wait_time = constant(0)
    host = "http://the.plan.names.it"

    def on_start(self) -> None:
        """Takes a place among the users."""
        plan = session().plan
        self.turns, self.bodies = session().turns(), session().bodies(http_request)
        self.url = f"http://{plan['address']}{http_path(plan['model'], plan['asked_version'])}"

    @task  # type: ignore[untyped-decorator]  # as above
    def infer(self) -> None:
        """One request; a wrong answer is a failure."""
        turn = next(self.turns)
        body, headers = self.bodies[turn]
        with self.client.post(self.url, data=body, headers=headers, name="http", catch_response=True) as response:
            try:
                if response.status_code != 200:
                    raise AnswerWrong(http_failure(response.status_code, response.content or str(response.error)))
                reply = read_http(response.content, response.headers.get(JSON_LENGTH))
                check(reply, session().plan["versions"], session().expected[turn])
            except AnswerWrong as problem:
                response.failure(problem)


class GrpcV2User(User):  # type: ignore[misc]  # as above
    """V2 gRPC, one connection per user, ready-made bytes: nothing is serialised while the clock runs."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Takes a place among the users and opens the connection."""
        plan = session().plan
        self.turns = session().turns()
        self.bodies = session().bodies(lambda images: grpc_request(plan["model"], plan["asked_version"], images))
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(plan["address"], options=options)
        self.call = self.channel.unary_unary(GRPC_METHOD)

    def on_stop(self) -> None:
        """Closes the connection."""
        self.channel.close()

    @task  # type: ignore[untyped-decorator]  # as above
    def infer(self) -> None:
        """One request; a wrong answer is a failure."""
        turn = next(self.turns)
        begun = time.perf_counter()
        answer, failure = b"", None
        try:
            answer = self.call(self.bodies[turn], timeout=session().plan["timeout"])
        except grpc.RpcError as problem:
            failure = AnswerWrong(f"{problem.code().name} {problem.details()}")
        milliseconds = (time.perf_counter() - begun) * 1000
        if failure is None:
            try:
                check(read_grpc(answer), session().plan["versions"], session().expected[turn])
            except AnswerWrong as problem:
                failure = problem
        self.environment.events.request.fire(
            request_type="grpc",
            name="grpc",
            response_time=milliseconds,
            response_length=len(answer),
            exception=failure,
        )
