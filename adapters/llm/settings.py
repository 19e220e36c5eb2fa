"""The settings of model providers, from a worker's environment."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """
    Attributes:
        retry_max_attempts: requests in all for one answer.
        retry_base_delay: the longest first pause, doubled each time. retry_max_delay: the longest of all. Seconds.
        environ: where keys and addresses of providers are taken from, when a step runs.
    """

    retry_enabled: bool
    retry_max_attempts: int
    retry_base_delay: float
    retry_max_delay: float
    environ: Mapping[str, str]
