"""Mistakes in what people write, and what a machine lacks."""

from __future__ import annotations

from slipway.errors.base import EXIT_BAD_INPUT, EXIT_ENVIRONMENT, EXIT_NOT_FOUND, SlipwayError


class SpecInvalid(SlipwayError):
    """A model specification (config/models/*.yaml) is not valid; the message names file, line and key."""

    code = "SPEC_INVALID"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class SpecNotFound(SlipwayError):
    """There is no model specification of that name."""

    code = "SPEC_NOT_FOUND"
    http_status = 404
    exit_code = EXIT_NOT_FOUND


class SettingsInvalid(SlipwayError):
    """A setting, from the environment or from the settings file, is not valid."""

    code = "SETTINGS_INVALID"
    exit_code = EXIT_BAD_INPUT


class InputFileUnreadable(SlipwayError):
    """A file that the user named is missing or cannot be read."""

    code = "INPUT_FILE_UNREADABLE"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class OutputUnwritable(SlipwayError):
    """A file or folder that the user named, or that the settings name, cannot be written."""

    code = "OUTPUT_UNWRITABLE"
    exit_code = EXIT_BAD_INPUT


class ContractInvalid(SlipwayError):
    """A contract.json is malformed, of an unknown schema, or its hash does not match its content."""

    code = "CONTRACT_INVALID"
    exit_code = EXIT_BAD_INPUT


class EnvironmentUnfit(SlipwayError):
    """This machine or environment lacks something that is needed; ``slipway doctor`` shows the whole list."""

    code = "ENVIRONMENT_UNFIT"
    exit_code = EXIT_ENVIRONMENT


class PortUnavailable(SlipwayError):
    """A port that was asked for by name cannot be bound."""

    code = "PORT_UNAVAILABLE"
    exit_code = EXIT_ENVIRONMENT
