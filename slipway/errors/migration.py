"""What can be wrong with a TorchServe archive that is to become a model here."""

from __future__ import annotations

from slipway.errors.base import EXIT_BAD_INPUT, SlipwayError


class ArchiveInvalid(SlipwayError):
    """A TorchServe archive (.mar, .tar.gz or folder) is damaged, incomplete, too large, or reaches out of itself."""

    code = "ARCHIVE_INVALID"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class MigrationRefused(SlipwayError):
    """An archive cannot be migrated without another word from its user: leave to run its code, a name, labels."""

    code = "MIGRATION_REFUSED"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class MigrationDiffers(SlipwayError):
    """The migrated model and the archive's own handler give different answers for the sample images."""

    code = "MIGRATION_DIFFERS"


class HandlerFailed(SlipwayError):
    """The handler of a migrated archive, which is its user's code, fails, or cannot be started here."""

    code = "HANDLER_FAILED"


class HandlerRefused(HandlerFailed):
    """The handler of a migrated archive answers an input with a status of 400 to 499."""

    code = "HANDLER_REFUSED"
    http_status = 400
