from tests.routing.store.database import database_url, logs, migrated, postgres, store  # noqa: F401
