"""redis-py, for all who need it.

Where OpenTelemetry's SDK is installed it imports that for metrics of its own, which nobody here asks for: 30 ms and
3 MB of each process. So for the time of its import the SDK's metrics are not to be found.
"""

import sys

_METRICS = "opentelemetry.sdk.metrics"

_hidden = sys.modules.get(_METRICS)
sys.modules[_METRICS] = None  # type: ignore[assignment]
try:
    from redis import Redis
    from redis.exceptions import RedisError
finally:
    if _hidden is None:
        del sys.modules[_METRICS]
    else:
        sys.modules[_METRICS] = _hidden

__all__ = ["Redis", "RedisError"]
