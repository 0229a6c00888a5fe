"""What can be wrong with experiments: their declaration, their state and the store of what was seen."""

from __future__ import annotations

from slipway.errors.base import EXIT_BAD_INPUT, EXIT_ENVIRONMENT, EXIT_NOT_FOUND, SlipwayError


class RoutesInvalid(SlipwayError):
    """config/routes.yaml, or an option of `slipway route`, does not describe an experiment that can be run."""

    code = "ROUTES_INVALID"
    exit_code = EXIT_BAD_INPUT


class ExperimentInvalid(SlipwayError):
    """A model's experiment.json or rollout.json cannot be understood."""

    code = "EXPERIMENT_INVALID"


class ExperimentUnknown(SlipwayError):
    """There is no experiment on this model."""

    code = "EXPERIMENT_UNKNOWN"
    exit_code = EXIT_NOT_FOUND


class RolloutRefused(SlipwayError):
    """What was asked of a rollout does not fit the state that it is in."""

    code = "ROLLOUT_REFUSED"
    exit_code = EXIT_BAD_INPUT


class FeedbackInvalid(SlipwayError):
    """A line of feedback is not an object with a request id and a label or an outcome."""

    code = "FEEDBACK_INVALID"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class DriftInvalid(SlipwayError):
    """A report of drift is not an object with a version, whether it drifts, and a reason."""

    code = "DRIFT_INVALID"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class StoreUnavailable(SlipwayError):
    """The database of exposures and outcomes does not answer; traffic flows on, verdicts hold."""

    code = "STORE_UNAVAILABLE"
    http_status = 503
    exit_code = EXIT_ENVIRONMENT
