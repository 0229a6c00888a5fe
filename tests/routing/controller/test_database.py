"""The embedded database under several who use it: it stays until the last one leaves."""

from routing.controller.database import Use, opened
from routing.postgres import Postgres
from slipway.settings import Settings


def test_who_started_it_does_not_stop_it_under_others(settings: Settings) -> None:
    postgres = Postgres(settings.state_dir / "postgres")
    with opened(settings) as first:
        first.check()
        with opened(settings) as second:
            first.close()
            second.check()
        assert postgres.alive()
        controller = Use(Postgres(settings.state_dir / "postgres"))
        controller.begin()
    assert postgres.alive()
    with opened(settings) as third:
        controller.end()
        third.check()
    assert not postgres.alive()
