"""TorchServe archives that become models here: read without running anything, mapped, or wrapped, and compared."""
