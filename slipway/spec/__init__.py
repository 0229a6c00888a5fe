"""The specification of one public model, ``config/models/<name>.yaml``: a section a file."""

from slipway.spec.formats import NETWORK_FILES, FormatName
from slipway.spec.gates import GatesSpec
from slipway.spec.model import ModelSpec, load_model_spec
from slipway.spec.source import SourceSpec

__all__ = ["NETWORK_FILES", "FormatName", "GatesSpec", "ModelSpec", "SourceSpec", "load_model_spec"]
