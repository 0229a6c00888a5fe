from tests.routing.store.database import database_url, logs, postgres, store  # noqa: F401
