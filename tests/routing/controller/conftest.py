"""A repository with three real versions of one model, and settings that name it."""

from tests.routing.rollout.conftest import settings as settings
