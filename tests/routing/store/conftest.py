from tests.routing.store.database import database_url, empty_database_url, logs, migrated, postgres, store

__all__ = ["database_url", "empty_database_url", "logs", "migrated", "postgres", "store"]
