"""Build of the distribution `devstral-router`; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
found = re.search(r'^__version__ = "([^"]+)"', (HERE / "router/__init__.py").read_text(), re.MULTILINE)
if found is None:
    raise SystemExit("router/__init__.py names no __version__")

OTEL = ["opentelemetry-sdk>=1.27", "opentelemetry-exporter-otlp-proto-http>=1.27"]  # spans, see docs/operations.md

setup(
    name="devstral-router",
    version=found.group(1),
    description="OpenAI-compatible router in front of a cluster of vLLM servers, at home with Mistral-family models",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["router", "router.*"]),
    package_data={"router": ["py.typed", "pages/*"]},
    install_requires=[
        "tornado>=6.6.1",
        "uvloop>=0.22",
        "httptools>=0.7",
        "orjson>=3.10",
        "msgspec>=0.19",
        "pydantic>=2.9",
        "pyyaml>=6.0",
        "prometheus-client>=0.21",
    ],
    extras_require={
        "test": [
            "pytest>=8,<10",
            "pytest-tornado==0.8.1",
            "pytest-xdist>=3.5,<4",  # `make test` runs two at a time
            "setuptools<81",  # pytest-tornado 0.8.1 imports pkg_resources
            "hypothesis>=6.100",
            "openai>=1.60",
            "jsonschema>=4.20",
            "check-jsonschema>=0.30",  # holds the Compose Specification's schema
            "grafana-foundation-sdk",  # Grafana's own types: what a dashboard may hold
            "playwright>=1.50",  # drives the system's Chromium
            "axe-playwright-python>=0.1.4",  # holds axe-core, which judges the status page
            "mypy>=1.13",
            "ruff>=0.8",
            "types-PyYAML",
            # What vLLM reads requests and forms with: tests hold our readings against theirs.
            "uvicorn>=0.30",
            "h11>=0.14",
            "starlette>=0.40",
            "python-multipart>=0.0.12",
            "openapi-spec-validator>=0.7",
            "schemathesis>=4.30,<5",
            "fastapi-offline>=1.7.7,<2",  # as the extra docs has it
            *OTEL,
        ],
        # Of it the files of Swagger UI and ReDoc are served; no code of it runs.
        "docs": ["fastapi-offline>=1.7.7,<2"],
        "otel": OTEL,
        "fuzz": ["atheris>=3.0"],
    },
    entry_points={"console_scripts": ["devstral-router = router.cli:main"]},
)
