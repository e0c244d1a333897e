"""Configuration: one schema, one YAML file, every fault at once.

texts (document, dotenv, flags) -> tree with origins -> laid over each other (sources) -> types (schema) -> Config

`load` is the way in; `Config` is what everybody reads.
"""

from router.config.load import Loaded, find_config, load
from router.config.schema import BackendConfig, Config, LoggingConfig, ServerConfig

__all__ = ["BackendConfig", "Config", "Loaded", "LoggingConfig", "ServerConfig", "find_config", "load"]
