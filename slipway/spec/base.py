"""What every section of a specification shares: unknown keys are refused, values do not change."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section of a specification."""

    model_config = ConfigDict(extra="forbid", frozen=True)
