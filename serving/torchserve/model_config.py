"""A version's ``model-config.yaml``: workers, batches and timeouts, from the same config.pbtxt that Triton reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from serving.triton.model_config import parameter, read_config

#: Images of one JSON request, as a multiple of the largest batch: they are answered in batches of that size.
_IMAGES_PER_BATCH = 4


@dataclass(frozen=True)
class ModelConfig:
    """``batch_size`` requests of different clients are answered together by one worker, which waits ``delay``
    milliseconds for them; timeouts in seconds; ``max_images`` of one JSON request."""

    workers: int
    batch_size: int
    delay: int
    response_timeout: int
    startup_timeout: int
    max_images: int

    @classmethod
    def of(cls, path: Path, cores: int, response_timeout: int, startup_timeout: int) -> ModelConfig:
        """From the public model's config.pbtxt; raises RepositoryDamaged.

        Requests are batched only where the config asks for a delay. TorchServe (0.12) lets one worker collect at a
        time: without more clients than ``batch_size`` one worker gets everything and the other cores idle.
        """
        config = read_config(path)
        delay = int(config.dynamic_batching.max_queue_delay_microseconds)
        largest = max(1, int(config.max_batch_size))
        counted = config.instance_group[0].count if config.instance_group else 0
        workers = cores if parameter(config, "instances") == "auto" or counted < 1 else counted
        milliseconds = max(1, round(delay / 1000))
        size, wait = (largest, milliseconds) if delay else (1, 1)
        return cls(workers, size, wait, response_timeout, startup_timeout, _IMAGES_PER_BATCH * largest)

    def to_yaml(self) -> bytes:
        """The file's text; keys of TorchServe 0.12 (ModelConfig), and ``handler`` for handlers.torchserve."""
        values = {
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            "batchSize": self.batch_size,
            "maxBatchDelay": self.delay,
            "responseTimeout": self.response_timeout,
            "startupTimeout": self.startup_timeout,
            "deviceType": "cpu",
            "handler": {"max_images": self.max_images},
        }
        return yaml.safe_dump(values, sort_keys=False).encode()
