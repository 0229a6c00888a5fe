"""A repository with three real versions of one model, and settings that name it."""

from tests.routing.rollout.conftest import settings as settings
from tests.routing.store.database import database_url as database_url
from tests.routing.store.database import migrated as migrated
from tests.routing.store.database import postgres as postgres
from tests.routing.store.database import store as store
